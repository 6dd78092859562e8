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
    return reader, source, tree, {picture.image_id: reader.annotate(picture) for picture in reader.pictures()}


def test_classes_have_names_of_their_own_in_the_order_of_the_set(read):
    reader, _, tree, _ = read
    assert reader.class_names == tree.class_names


def test_pictures_splits_and_classes(read):
    _, _, tree, pictures = read
    assert {name: (picture.split, picture.label) for name, picture in pictures.items()} == {
        name: (known.split, known.label) for name, known in tree.known.items()
    }


def test_boxes_are_those_of_the_files(read):
    reader, _, tree, pictures = read
    assert {name: picture.boxes for name, picture in pictures.items()} == {
        name: known.boxes for name, known in tree.known.items()
    }
    assert all(picture.categories is None for picture in pictures.values())
    assert reader.has_boxes == any(known.boxes for known in tree.known.values())


def test_files_of_the_pictures(read):
    _, source, tree, pictures = read
    assert {name: source.read(picture.image) for name, picture in pictures.items()} == {
        name: known.content for name, known in tree.known.items()
    }


def test_sizes_are_those_of_the_pictures(read):
    _, source, _, pictures = read
    for picture in pictures.values():
        if picture.size is not None:
            with source_image(source, picture.image) as image:
                assert picture.size == image.size


def test_masks_are_the_union_of_their_files(read):
    reader, source, tree, pictures = read
    assert reader.has_masks == any(known.mask is not None for known in tree.known.values())
    assert reader.has_ignore_masks == any(known.ignore_mask is not None for known in tree.known.values())
    for name, known in tree.known.items():
        picture = pictures[name]
        assert bool(picture.masks) == (known.mask is not None)
        assert bool(picture.ignore_masks) == (known.ignore_mask is not None)
        if picture.masks:
            mask = union(source, picture.masks, reader.object_pixels)
            np.testing.assert_array_equal(mask, known.mask)
        if picture.ignore_masks:
            ignored = union(source, picture.ignore_masks, reader.ignored_pixels)
            np.testing.assert_array_equal(ignored & ~mask, known.ignore_mask)


def test_pictures_come_in_the_same_order_again(read):
    reader, source, _, pictures = read
    again = [picture.image_id for picture in type(reader)(source).pictures()]
    assert again == list(pictures)


def test_a_reader_works_in_other_processes(read):
    reader, _, _, pictures = read
    copy = pickle.loads(pickle.dumps(reader))
    assert {picture.image_id: copy.annotate(picture) for picture in reader.pictures()} == pictures


def test_an_error_would_say_where_the_picture_is_listed(read):
    _, _, _, pictures = read
    assert all(picture.where for picture in pictures.values())


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
