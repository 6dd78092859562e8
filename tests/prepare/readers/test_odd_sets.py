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
"""Sets that are not whole, lists that are broken, and odd trees: what the readers say, and what they make of them."""

import json
import re
import shutil

import numpy as np
import pytest
from official_trees import (
    CRANE,
    CRANE_MACHINE,
    TENCH,
    cells,
    image_bytes,
    mat_bytes,
    structs,
    voc_xml,
    write_official,
)
from transformers.testing_utils import CaptureLogger
from transformers.utils import logging

from transformers_sat.evaluation.score_maps import WsolMetadata
from transformers_sat.prepare import verify_dataset
from transformers_sat.prepare.archives import open_source
from transformers_sat.prepare.readers import READERS
from transformers_sat.prepare.readers.voc_xml import read_annotation


@pytest.fixture
def official(tmp_path):
    """Writes a set, changes its files, and reads it; gives its images by id."""

    class Official:
        folder = tmp_path / "files"

        def __init__(self):
            self.tree = None

        def write(self, form: str):
            _, self.tree = write_official(form, False, tmp_path)
            return self

        def put(self, path: str, content: str | bytes):
            self.tree.put(path, content)
            return self

        def replace(self, path: str, old: str, new: str):
            text = (self.folder / path).read_bytes().decode()
            assert old in text
            return self.put(path, text.replace(old, new))

        def remove(self, path: str):
            file = self.folder / path
            shutil.rmtree(file) if file.is_dir() else file.unlink()
            return self

        def read(self, name: str) -> dict:
            reader = READERS[name](open_source(self.folder))
            return {image.image_id: reader.annotate(image) for image in reader.records()}

        def fails(self, name: str, *parts: str):
            with pytest.raises(ValueError) as raised:
                self.read(name)
            for part in parts:
                assert part in str(raised.value)

        def has_problem(self, name: str, *parts: str):
            """The problem is that of one image, and the others are read."""
            reader = READERS[name](open_source(self.folder))
            report, num_images, _ = verify_dataset(reader)
            problems = {kind: count for kind, count in report.counts.items() if kind != "empty_class"}
            assert len(problems) == 1 and num_images > sum(problems.values()) > 0, str(report)
            for part in parts:
                assert part in str(report)

    return Official()


@pytest.mark.parametrize(
    ("form", "name", "path", "named"),
    [
        ("cub", "cub", "CUB_200_2011/bounding_boxes.txt", "bounding_boxes.txt"),
        ("cub", "cub", "CUB_200_2011/images.txt", "images.txt"),
        ("ilsvrc", "ilsvrc", "ILSVRC2012_img_val", "ILSVRC2012_img_val.tar"),
        ("ilsvrc", "ilsvrc", "ILSVRC2012_bbox_val_v3", "ILSVRC2012_bbox_val_v3.tgz"),
        ("ilsvrc", "ilsvrc", "ILSVRC2012_devkit_t12", "meta.mat of ILSVRC2012_devkit_t12.tar.gz"),
        ("ilsvrc-tree", "ilsvrc", "LOC_synset_mapping.txt", "LOC_synset_mapping.txt"),
        ("openimages", "openimages", "metadata", "metadata/OpenImages/"),
        ("wsoleval", "wsoleval", "metadata", "metadata/<SET>/"),
        ("stanford-dogs", "stanford-dogs", "test_list.mat", "test_list.mat"),
        ("stanford-dogs", "stanford-dogs", "Annotation", "annotation.tar (Annotation/)"),
        ("stanford-cars", "stanford-cars", "devkit/cars_meta.mat", "cars_meta.mat"),
        ("stanford-cars", "stanford-cars", "cars_test_annos_withlabels.mat", "cars_test_annos_withlabels.mat"),
        ("stanford-cars", "stanford-cars", "cars_test", "cars_test/00001.jpg (cars_test.tgz)"),
        ("fgvc-aircraft", "fgvc-aircraft", "fgvc-aircraft-2013b/data/variants.txt", "variants.txt"),
        ("coco", "coco", "annotations", "instances_<split>.json"),
        ("voc", "voc", "VOCdevkit", "ImageSets/Main/train.txt"),
    ],
)
def test_what_is_missing_is_named_with_the_layout_there_should_be(official, form, name, path, named):
    official.write(form).remove(path).fails(name, named, "The source should hold:", READERS[name].layout)


@pytest.mark.parametrize(
    ("form", "path", "old", "new", "parts"),
    [
        ("cub", "CUB_200_2011/images.txt", "3 002", "3002", ("images.txt, line 3", "2 fields")),
        ("wsoleval", "metadata/CUB/test/localization.txt", "10,10,30,30", "a.png,", ("localization.txt", "mixes")),
        ("wsoleval", "metadata/CUB/train/class_labels.txt", "b.jpg,0", "", ("class_labels.txt, line 2",)),
        (
            "ilsvrc",
            "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
            "3",
            "9",
            ("line 2", "class 9"),
        ),
        (
            "ilsvrc-tree",
            "ILSVRC/ImageSets/CLS-LOC/train_cls.txt",
            "n01440764/",
            "n0/",
            ("train_cls.txt, line 1", "'n0' is not"),
        ),
        ("coco", "annotations/instances_val2017.json", "]", "", ("instances_val2017.json", "no valid JSON")),
        (
            "coco",
            "annotations/instances_val2017.json",
            '"images"',
            '"photos"',
            ("instances_val2017.json", "list `images`"),
        ),
        ("coco", "annotations/instances_val2017.json", '"bird"', '"fish"', ("other categories",)),
    ],
)
def test_a_broken_line_is_named(official, form, path, old, new, parts):
    official.write(form).replace(path, old, new).fails(form.removesuffix("-tree"), *parts)


@pytest.mark.parametrize(
    ("form", "path", "old", "new", "parts"),
    [
        ("cub", "CUB_200_2011/bounding_boxes.txt", "14.0 4.0", "14.0 four", ("line 3", "'four' is not a number")),
        ("cub", "CUB_200_2011/bounding_boxes.txt", "33.0 16.5", "33.0", ("line 3", "x, y, width and height")),
        (
            "cub",
            "CUB_200_2011/bounding_boxes.txt",
            "3 14.0 4.0 33.0 16.5\n",
            "",
            ("images.txt, line 3", "bounding_boxes"),
        ),
        ("cub", "CUB_200_2011/train_test_split.txt", "2 0", "2 x", ("train_test_split.txt, line 2", "got 'x'")),
        ("cub", "CUB_200_2011/image_class_labels.txt", "3 2", "3 7", ("image_class_labels.txt, line 3", "'7'")),
        ("cub", "metadata/CUB/val/class_labels.txt", ",0", ",200", ("image_ids.txt, line 1", "class 200")),
        ("cub", "metadata/CUB/val/localization.txt", ",28", "", ("localization.txt, line 1", "image and box")),
        ("fgvc-aircraft", "fgvc-aircraft-2013b/data/images_box.txt", " 2 30", " 2 30,", ("line 2", "'30,'")),
        ("fgvc-aircraft", "fgvc-aircraft-2013b/data/images_variant_val.txt", "F/A", "F", ("line 1", "'F-18'")),
        (
            "fgvc-aircraft",
            "fgvc-aircraft-2013b/data/images_variant_val.txt",
            "1340192",
            "1",
            ("line 1", "images_box.txt"),
        ),
        ("wsoleval", "metadata/CUB/test/class_labels.txt", ",0", ",one", ("class_labels.txt, line 1", "'one'")),
        (
            "wsoleval",
            "metadata/CUB/train/class_labels.txt",
            "b.jpg",
            "d.jpg",
            ("image_ids.txt, line 2", "no line of its own"),
        ),
        (
            "wsoleval",
            "metadata/CUB/train/localization.txt",
            "b.jpg",
            "d.jpg",
            ("image_ids.txt, line 2", "localization.txt"),
        ),
    ],
)
def test_a_line_of_one_image_is_the_problem_of_that(official, form, path, old, new, parts):
    official.write(form).replace(path, old, new).has_problem(form, *parts)


@pytest.mark.parametrize(
    ("form", "folder"),
    [
        ("cub", "CUB_200_2011/images"),
        ("fgvc-aircraft", "fgvc-aircraft-2013b/data/images"),
        ("wsoleval", "dataset/CUB"),
        ("stanford-dogs", "Images"),
        ("stanford-cars", "cars_train"),
    ],
)
def test_images_that_no_list_names_are_left_over(official, form, folder):
    official.write(form).put(f"{folder}/unlisted.jpg", image_bytes((60, 40)))
    left = list(READERS[form](open_source(official.folder)).left_over())
    assert (f"{folder}/unlisted.jpg", "which no list names") in left
    images = {image.image for image in official.read(form).values()}
    assert images.isdisjoint(path for path, _ in left)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [('"bbox"', '"box"', "no field `bbox`"), ("0, 0, 60, 40", "0, 0, 60", "x, y, width and height")],
)
def test_a_broken_box_of_coco_is_that_of_its_image(official, old, new, part):
    official.write("coco").replace("annotations/instances_val2017.json", old, new)
    official.has_problem("coco", "unreadable_annotation", "instances_val2017.json, annotation 1", part)


def test_the_readers_and_the_evaluation_of_score_maps_read_metadata_alike(official):
    images = official.write("wsoleval").read("wsoleval")
    for split in ("train", "test"):
        metadata = WsolMetadata.read(official.folder / "metadata" / "CUB" / split)
        listed = {name: image for name, image in images.items() if image.split == split}
        assert list(listed) == metadata.image_ids
        for name, image in listed.items():
            corners = [(x, y, x + width, y + height) for x, y, width, height in image.boxes]
            np.testing.assert_array_equal(corners, metadata.boxes[name])
            assert image.size[::-1] == metadata.image_sizes[name]


def test_the_readers_and_the_evaluation_of_score_maps_read_masks_alike(official):
    images = official.write("openimages").read("openimages")
    metadata = WsolMetadata.read(official.folder / "metadata/OpenImages/val")
    (name,) = metadata.image_ids
    prefix = "OpenImages_annotations/"
    assert images[name].masks == tuple(prefix + mask for mask in metadata.masks[name])
    assert images[name].ignore_masks == (prefix + metadata.ignore_masks[name],)


def test_metadata_without_its_images_says_what_to_do(official):
    official.write("wsoleval").remove("dataset/CUB/001.Black_footed_Albatross/c.jpg")
    official.fails(
        "wsoleval", "metadata/CUB/test/image_ids.txt, line 1", "c.jpg is not in the source", "leave the folder"
    )


def test_of_several_sets_with_images_none_is_guessed(official):
    official.write("wsoleval").put("dataset/OpenImages/test/0cd4d/cc33.jpg", image_bytes((60, 40)))
    official.fails("wsoleval", "The images of one set", "metadata/CUB/", "metadata/OpenImages/")


def test_wsoleval_with_several_sets_takes_the_one_whose_images_are_there(official):
    official.write("openimages").put("metadata/CUB/test/image_ids.txt", "001.a/b.jpg\n")
    official.put("metadata/CUB/test/class_labels.txt", "001.a/b.jpg,0\n")
    assert set(official.read("wsoleval")) == set(official.tree.known)


def test_the_archives_that_wsolevaluation_leaves_beside_the_images(official):
    official.write("wsoleval")
    for name, known in official.tree.known.items():
        official.put(f"dataset/CUB_200_2011/CUB_200_2011/images/{name}", known.content)
    assert all(image.image == f"dataset/CUB/{name}" for name, image in official.read("wsoleval").items())
    (official.folder / "dataset/CUB").rename(official.folder / "dataset/birds")
    official.fails("wsoleval", "more than once", "dataset/birds/", "dataset/CUB_200_2011/CUB_200_2011/images/")


def test_wsoleval_without_names_keeps_folders_and_numbers(official):
    official.write("openimages").remove("class-descriptions-boxable.csv")
    assert READERS["openimages"](open_source(official.folder)).class_names == ["0cd4d", "011k07"]
    for file in ("image_ids.txt", "class_labels.txt"):
        official.replace(f"metadata/OpenImages/train/{file}", "011k07", "0bt_c3")
    (official.folder / "OpenImages_images/train/011k07").rename(official.folder / "OpenImages_images/train/0bt_c3")
    assert READERS["openimages"](open_source(official.folder)).class_names == ["0cd4d", "0bt_c3"]
    # all images in one folder: the folder is no class
    lists = {"flat/a.jpg": 0, "flat/b.jpg": 1}
    official.remove("metadata")
    for split in ("train", "test"):
        official.put(f"metadata/Own/{split}/image_ids.txt", "\n".join(lists))
        official.put(f"metadata/Own/{split}/class_labels.txt", "".join(f"{name},{n}\n" for name, n in lists.items()))
    for name in lists:
        official.put(name, image_bytes((20, 20)))
    assert READERS["wsoleval"](open_source(official.folder)).class_names == ["0", "1"]


def test_wsoleval_names_the_synsets_of_imagenet(official):
    official.write("ilsvrc-tree")
    names = {
        f"train/{name.partition('_')[0]}/{name}.JPEG": name for name in official.tree.known if name.startswith("n")
    }
    numbers = {"n01440764": 0, "n02012849": 1, "n03126707": 2}
    official.put("metadata/ILSVRC/train/image_ids.txt", "\n".join(names))
    lines = [f"{path},{numbers[name.partition('_')[0]]}" for path, name in names.items()]
    official.put("metadata/ILSVRC/train/class_labels.txt", "\n".join(lines))
    assert READERS["wsoleval"](open_source(official.folder)).class_names == [TENCH, CRANE, CRANE_MACHINE]


def test_cub_without_segmentations_and_validation_images(official):
    official.write("cub").remove("segmentations").remove("metadata").remove("CUBV2")
    reader = READERS["cub"](open_source(official.folder))
    assert not reader.has_masks
    images = list(reader.records())
    assert {image.split for image in images} == {"train", "test"}
    assert not any(image.masks for image in images)


def test_imagenet_labels_from_the_boxes_where_there_is_no_solution(official):
    labels = {name: known.label for name, known in official.write("ilsvrc-tree").tree.known.items()}
    official.remove("LOC_val_solution.csv")
    assert {name: image.label for name, image in official.read("ilsvrc").items()} == labels
    official.remove("ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000002.xml")
    official.fails("ilsvrc", "val.txt, line 2", "ILSVRC2012_val_00000002", "LOC_val_solution.csv")


def test_imagenet_test_images_need_their_boxes(official):
    official.write("ilsvrc").remove("ILSVRC2012_bbox_val_v3/val/ILSVRC2012_val_00000002.xml")
    official.fails("ilsvrc", "ILSVRC2012_val_00000002.xml")


def test_imagenet_trains_without_boxes(official):
    images = official.write("ilsvrc").remove("ILSVRC2012_bbox_train_v2").read("ilsvrc")
    assert all((image.boxes is None) == (image.split == "train") for image in images.values())


@pytest.mark.parametrize(
    ("form", "images"), [("ilsvrc", "ILSVRC2012_img_val"), ("ilsvrc-tree", "ILSVRC/Data/CLS-LOC/val")]
)
def test_validation_images_of_imagenet_in_class_folders(official, form, images):
    """As many unpack them."""
    known = official.write(form).tree.known
    folder = official.folder / images
    (folder / "n02012849").mkdir()
    (folder / "ILSVRC2012_val_00000002.JPEG").rename(folder / "n02012849" / "ILSVRC2012_val_00000002.JPEG")
    image = official.read("ilsvrc")["ILSVRC2012_val_00000002"]
    assert image.label == CRANE
    assert open_source(official.folder).read(image.image) == known["ILSVRC2012_val_00000002"].content


@pytest.mark.parametrize("name", ["002.Laysan_Albatross/a 1.jpg", "001.Black_footed_Albatross/e.jpg"])
def test_one_missing_image_of_wsoleval_is_that_image_s_problem(official, name):
    """Also if it is the first, which tells where the others are."""
    official.write("wsoleval").remove(f"dataset/CUB/{name}")
    official.has_problem("wsoleval", "missing_file", f"dataset/CUB/{name}")


def test_lists_of_dogs_that_do_not_fit_together(official):
    names = cells(["n02085620-Chihuahua/n02085620_7.jpg"], column=True)
    official.write("stanford-dogs").put("train_list.mat", mat_bytes(file_list=names, labels=np.array([[1.0], [2.0]])))
    official.fails("stanford-dogs", "train_list.mat", "1 names", "2 in `labels`")
    official.put("train_list.mat", mat_bytes(file_list=names, labels=np.array([[2.0]])))
    official.fails("stanford-dogs", "list.mat, entry", "class 2", "n02085620-Chihuahua", "n02113624-toy_poodle")


def test_matlab_files_that_are_none(official):
    official.write("stanford-dogs").put("train_list.mat", b"no list")
    official.fails("stanford-dogs", "train_list.mat", "no MATLAB file")
    official.put("train_list.mat", mat_bytes(files=np.zeros((1, 1))))
    official.fails("stanford-dogs", "train_list.mat", "no variable `file_list`")


def test_the_list_of_cars_without_classes_is_not_taken_for_the_other(official):
    official.write("stanford-cars")
    annotations = structs([(1, 2, 3, 4, "00001.jpg")], ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "fname"))
    official.put("cars_test_annos_withlabels.mat", mat_bytes(annotations=annotations))
    official.fails("stanford-cars", "cars_test_annos_withlabels.mat, entry 1", "no field `class`")


def test_coco_of_ones_own_with_the_same_names_in_each_split(official):
    official.write("coco").remove("train2017").remove("val2017").remove("annotations")
    for split, box in (("train", [1, 2, 3, 4]), ("valid", [5, 6, 7, 8])):
        official.put(f"images/{split}/1.jpg", image_bytes((60, 40)))
        contents = {
            "images": [{"id": 1, "file_name": "1.jpg"}],
            "annotations": [{"image_id": 1, "category_id": 3, "bbox": box}],
            "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
        }
        official.put(f"instances_{split}.json", json.dumps(contents))
    images = official.read("coco")
    assert {name: (image.split, image.image, image.boxes) for name, image in images.items()} == {
        "train/1.jpg": ("train", "images/train/1.jpg", [(1.0, 2.0, 3.0, 4.0)]),
        "valid/1.jpg": ("validation", "images/valid/1.jpg", [(5.0, 6.0, 7.0, 8.0)]),
    }
    # a category that no image is of is no class
    assert READERS["coco"](open_source(official.folder)).class_names == ["cat"]


def test_two_years_of_coco_for_one_split(official):
    official.write("coco").put("annotations/instances_val2014.json", "{}")
    official.fails("coco", "instances_val2014.json", "instances_val2017.json", "split validation")


def test_images_of_several_classes_are_counted(official):
    official.write("coco")
    with CaptureLogger(logging.get_logger("transformers_sat.prepare.readers.lists")) as log:
        official.read("coco")
    assert "instances_train2017.json: 3 of 5 images left out: 1 with several categories, 2 without a box." in log.out


def test_images_of_several_classes_are_counted_in_voc(official):
    official.write("voc")
    with CaptureLogger(logging.get_logger("transformers_sat.prepare.readers.lists")) as log:
        official.read("voc")
    assert "3 of 6 images left out: 2 with several classes, 1 without an object." in log.out


def test_two_trees_of_voc_are_one_set(official):
    official.write("voc")
    root = "VOCtest_06-Nov-2007/VOCdevkit/VOC2007"
    official.put(f"{root}/ImageSets/Main/test.txt", "000001\n")
    official.put(f"{root}/Annotations/000001.xml", voc_xml((60, 40), [("sheep", "1 2 11 22")]))
    official.put(f"{root}/JPEGImages/000001.jpg", image_bytes((60, 40)))
    image = official.read("voc")["000001"]
    assert (image.split, image.boxes) == ("test", [(1.0, 2.0, 10.0, 20.0)])
    assert image.image == f"{root}/JPEGImages/000001.jpg"


def test_voc_without_an_annotation(official):
    official.write("voc").remove("VOCdevkit/VOC2012/Annotations/2008_000002.xml")
    official.has_problem("voc", "train.txt, line 2", "Annotations/2008_000002.xml is not in the source")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation><object>", "no valid XML"),
        (voc_xml((60, 40), [("bird", "1 2 x 4")]), "<xmax> should be a number, got 'x'"),
        (voc_xml((60, 40), [("bird", "1 2 nan 4")]), "<xmax> should be a finite number"),
        (voc_xml((60, 40), [("bird", "1 2 3 4")]).replace("ymin", "top"), "<ymin> should be a number, got None"),
        ('<!DOCTYPE a [<!ENTITY b "cc">]><annotation>&b;</annotation>', "document type"),
        ('<!DOCTYPE annotation SYSTEM "file:///etc/passwd"><annotation/>', "document type"),
    ],
)
def test_xml_that_is_refused(tmp_path, content, message):
    (tmp_path / "a.xml").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^a.xml: .*{re.escape(message)}"):
        read_annotation(open_source(tmp_path), "a.xml")


def test_xml_without_a_size(tmp_path):
    for name, size in (("none", None), ("zero", (0, 0))):
        (tmp_path / f"{name}.xml").write_text(voc_xml(size, [("bird", "1 2 3 4")]), encoding="utf-8")
        annotation = read_annotation(open_source(tmp_path), f"{name}.xml")
        assert annotation.size is None
        assert [entry.box for entry in annotation.objects] == [(1.0, 2.0, 2.0, 2.0)]
