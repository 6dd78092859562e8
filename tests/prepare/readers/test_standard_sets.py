# Copyright 2026 The transformers-sat authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Every reader on the official layout of its set, unpacked and as the official archives."""

import io
import pickle

import numpy as np
import PIL.Image
import pytest
from official_trees import OFFICIAL_SETS, write_official

from transformers_sat.prepare.archives import open_source
from transformers_sat.prepare.readers import READERS


@pytest.fixture(params=[(form, packed) for form in OFFICIAL_SETS for packed in (False, True)], ids=str, scope="module")
def read(request, tmp_path_factory):
    form, packed = request.param
    path, tree = write_official(form, packed, tmp_path_factory.mktemp("official"))
    source = open_source(path)
    reader = READERS[OFFICIAL_SETS[form].reader](source)
    return reader, source, tree, {record.image_id: reader.annotate(record) for record in reader.records()}


def test_classes_have_names_of_their_own_in_the_order_of_the_set(read):
    reader, _, tree, _ = read
    assert reader.class_names == tree.class_names


def test_images_splits_and_classes(read):
    _, _, tree, images = read
    assert {name: (record.split, record.label) for name, record in images.items()} == {
        name: (known.split, known.label) for name, known in tree.known.items()
    }


def test_boxes_are_those_of_the_files(read):
    reader, _, tree, images = read
    assert {name: record.boxes for name, record in images.items()} == {
        name: known.boxes for name, known in tree.known.items()
    }
    assert all(record.categories is None for record in images.values())
    assert reader.has_boxes == any(known.boxes for known in tree.known.values())


def test_files_of_the_images(read):
    _, source, tree, images = read
    assert {name: source.read(record.image) for name, record in images.items()} == {
        name: known.content for name, known in tree.known.items()
    }


def test_sizes_are_those_of_the_images(read):
    _, source, _, images = read
    for record in images.values():
        if record.size is not None:
            with source_image(source, record.image) as image:
                assert record.size == image.size


def test_masks_are_the_union_of_their_files(read):
    reader, source, tree, images = read
    assert reader.has_masks == any(known.mask is not None for known in tree.known.values())
    assert reader.has_ignore_masks == any(known.ignore_mask is not None for known in tree.known.values())
    for name, known in tree.known.items():
        record = images[name]
        assert bool(record.masks) == (known.mask is not None)
        assert bool(record.ignore_masks) == (known.ignore_mask is not None)
        if record.masks:
            mask = union(source, record.masks, reader.object_pixels)
            np.testing.assert_array_equal(mask, known.mask)
        if record.ignore_masks:
            ignored = union(source, record.ignore_masks, reader.ignored_pixels)
            np.testing.assert_array_equal(ignored & ~mask, known.ignore_mask)


def test_images_come_in_the_same_order_again(read):
    reader, source, _, images = read
    again = [record.image_id for record in type(reader)(source).records()]
    assert again == list(images)


def test_a_reader_works_in_other_processes(read):
    reader, _, _, images = read
    copy = pickle.loads(pickle.dumps(reader))
    assert {record.image_id: copy.annotate(record) for record in reader.records()} == images


def test_an_error_would_say_where_the_image_is_listed(read):
    _, _, _, images = read
    assert all(record.where for record in images.values())


@pytest.mark.parametrize("name", sorted({official.reader for official in OFFICIAL_SETS.values()}))
def test_a_reader_says_where_its_data_is_from(name):
    reader = READERS[name]
    assert reader.name == name
    assert reader.title and reader.layout and reader.license and reader.license_text
    assert reader.homepage.startswith("http")
    # one or several whole BibTeX entries
    assert reader.citation.startswith("@")
    assert reader.citation.count("{") == reader.citation.count("}")


def source_image(source, path):

    return PIL.Image.open(io.BytesIO(source.read(path)))


def union(source, paths, pixels):
    masks = []
    for path in paths:
        with source_image(source, path) as image:
            masks.append(pixels(image))
    return np.any(masks, axis=0)
