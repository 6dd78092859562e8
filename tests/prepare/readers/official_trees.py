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
"""
The standard sets in small: trees in the official layouts, folders and archives, with what is true about them written by
hand.
"""

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image
import scipy.io


@dataclass
class Known:
    """What is true about an image."""

    split: str
    label: str
    boxes: list[tuple[float, float, float, float]] | None
    content: bytes
    mask: np.ndarray | None = None
    ignore_mask: np.ndarray | None = None


@dataclass
class OfficialTree:
    """A tree that is being written: the folder, and what is true about its images."""

    folder: Path
    class_names: list[str]
    known: dict[str, Known] = field(default_factory=dict)

    def put(self, path: str, content: str | bytes):
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def image(
        self,
        path: str,
        image_id: str,
        split: str,
        label: str,
        boxes: list[tuple[float, float, float, float]] | None,
        size: tuple[int, int] = (60, 40),
        form: str = "RGB JPEG",
        **masks: np.ndarray,
    ):
        content = image_bytes(size, form, seed=len(self.known))
        self.put(path, content)
        self.known[image_id] = Known(split, label, boxes, content, **masks)


@dataclass
class OfficialSet:
    """
    A form of data set.

    Attributes:
        reader (`str`): name of its reader.
        write: writes the unpacked files to a folder that exists.
        pack: makes the official archives, in another folder, of them.
    """

    reader: str
    write: Callable[[Path], OfficialTree]
    pack: Callable[[Path, Path], None]


def image_bytes(size: tuple[int, int], form: str = "RGB JPEG", seed: int = 0) -> bytes:
    """An image of a mode and file format, such as `CMYK JPEG` or `L PNG`."""
    mode, file_format = form.split()
    noise = np.random.default_rng(seed).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise).convert(mode).save(buffer, file_format)
    return buffer.getvalue()


def png_bytes(pixels: np.ndarray, palette: bool = False) -> bytes:
    image = PIL.Image.fromarray(pixels.astype(np.uint8))
    if palette:
        # colours as PASCAL VOC's: none of them, but that of the background, is black
        image.putpalette([0, 0, 0] + [value for number in range(1, 256) for value in (number // 2 + 60, 30, number)])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def mat_bytes(**variables: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, format="5")
    return buffer.getvalue()


def cells(values: list, column: bool = False) -> np.ndarray:
    """A cell array, of one row or of one column."""
    array = np.empty((1, len(values)), dtype=object)
    array[0, :] = values
    return array.T if column else array


def structs(rows: list[tuple], names: tuple[str, ...], column: bool = False) -> np.ndarray:
    """A struct array, of one row or of one column."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in names])
    for number, row in enumerate(rows):
        array[0, number] = row
    return array.T if column else array


def voc_xml(size: tuple[int, int] | None, objects: list[tuple]) -> str:
    """An annotation: objects are name, the four corners as text, and perhaps whether they are difficult."""
    lines = ["<annotation>", "\t<folder>images</folder>"]
    if size is not None:
        lines.append(f"\t<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    for name, corners, *difficult in objects:
        x0, y0, x1, y1 = corners.split()
        lines += [
            f"\t<object>\n\t\t<name>{name}</name>\n\t\t<difficult>{int(bool(difficult))}</difficult>",
            # in no fixed order, and with the box of a part, as in PASCAL VOC
            f"\t\t<bndbox><xmax>{x1}</xmax><xmin>{x0}</xmin><ymax>{y1}</ymax><ymin>{y0}</ymin></bndbox>",
            "\t\t<part><name>head</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>1</xmax><ymax>1</ymax></bndbox></part>",
            "\t</object>",
        ]
    return "\n".join([*lines, "</annotation>"])


def pack(folder: Path, archive: Path, *members: str):
    """Packs members of a folder, which may be files or folders, in the form that the archive's name says."""
    files = sorted(path for member in members for path in [folder / member, *(folder / member).rglob("*")])
    names = {path: str(path.relative_to(folder)) for path in files if path.is_file()}
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path, name in names.items():
                file.write(path, name)
    else:
        with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as file:
            for path, name in names.items():
                file.add(path, name)


def rectangle(size: tuple[int, int], x: int, y: int, width: int, height: int) -> np.ndarray:
    """A mask `(height, width)` with a rectangle of ones."""
    mask = np.zeros((size[1], size[0]), dtype=bool)
    mask[y : y + height, x : x + width] = True
    return mask


# CUB-200-2011


def write_cub(folder: Path) -> OfficialTree:
    tree = OfficialTree(folder, ["Black footed Albatross", "Laysan Albatross"])
    albatross, laysan = "001.Black_footed_Albatross", "002.Laysan_Albatross"
    images = {
        1: f"{albatross}/Black_Footed_Albatross_0046_18.jpg",
        2: f"{albatross}/Black Footed Albatross 0002 55.jpg",
        3: f"{laysan}/Laysan_Albatross_0002_1027.jpg",
        4: f"{laysan}/Laysan_Albatross_0003_1033.jpg",
    }
    # grey levels of agreement among five people, in stripes of ten pixels; three of the five are a majority
    levels = np.repeat([0, 51, 102, 153, 204, 255], 10)[None].repeat(40, axis=0)
    majority = rectangle((60, 40), 30, 0, 30, 40)
    root = "CUB_200_2011"
    for number, split, label, box, form in (
        (1, "train", tree.class_names[0], (6.0, 2.5, 32.5, 30.0), "RGB JPEG"),
        (2, "test", tree.class_names[0], (1.0, 11.0, 38.0, 18.0), "L JPEG"),
        (3, "train", tree.class_names[1], (14.0, 4.0, 33.0, 16.5), "CMYK JPEG"),
        (4, "test", tree.class_names[1], (0.0, 0.0, 59.0, 39.0), "RGB JPEG"),
    ):
        name = images[number]
        tree.image(f"{root}/images/{name}", name, split, label, [box], form=form, mask=majority)
        tree.put(f"segmentations/{name.removesuffix('.jpg')}.png", png_bytes(levels))
    tree.put(f"{root}/images.txt", "\n".join(f"{number} {name}" for number, name in images.items()))
    tree.put(f"{root}/image_class_labels.txt", "1 1\n2 1\n3 2\n4 2\n")
    tree.put(f"{root}/train_test_split.txt", "1 1\r\n2 0\r\n3 1\r\n4 0\r\n")
    tree.put(
        f"{root}/bounding_boxes.txt",
        "1 6.0 2.5 32.5 30.0\n2 1.0 11.0 38.0 18.0\n3 14.0 4.0 33.0 16.5\n4 0.0 0.0 59.0 39.0\n",
    )
    tree.put(f"{root}/classes.txt", f"1 {albatross}\n2 {laysan}\n")
    tree.put(f"{root}/parts/parts.txt", "1 back\n2 beak\n")
    tree.put("attributes.txt", "1 has_bill_shape::curved_(up_or_down)\n")
    # CUBV2 and its lists; corners in the list
    name = f"{albatross}/30107316117.jpg"
    tree.image(f"CUBV2/{name}", name, "validation", tree.class_names[0], [(17.0, 13.0, 28.0, 15.0)], (50, 30))
    write_lists(tree, "metadata/CUB/val", {name: (0, (50, 30), ["17,13,45,28"])})
    return tree


def pack_cub(folder: Path, out: Path):
    pack(folder, out / "CUB_200_2011.tgz", "CUB_200_2011", "attributes.txt")
    pack(folder, out / "segmentations.tgz", "segmentations")
    pack(folder / "CUBV2", out / "CUBV2.tar", ".")
    shutil.copytree(folder / "metadata", out / "metadata")


def write_lists(tree: OfficialTree, folder: str, images: dict[str, tuple]):
    """wsolevaluation's lists: by image, the class, the size if they have it, and the rest of its localization lines."""
    lines = [f"{name},{line}" for name, (_, _, located) in images.items() for line in located]
    sizes = [f"{name},{size[0]},{size[1]}" for name, (_, size, _) in images.items() if size]
    tree.put(f"{folder}/image_ids.txt", "\n".join(images))
    tree.put(f"{folder}/class_labels.txt", "\n".join(f"{name},{label}" for name, (label, _, _) in images.items()))
    tree.put(f"{folder}/image_sizes.txt", "\n".join(sizes))
    if lines:
        tree.put(f"{folder}/localization.txt", "\n".join(lines))


# ILSVRC, in both forms. Two classes have the same name, as in ImageNet.

TENCH, CRANE, CRANE_MACHINE = "tench, Tinca tinca", "crane (n02012849)", "crane (n03126707)"

# image of train: class, boxes, corners in its XML with the name there, form
IMAGENET_TRAIN = {
    "n01440764_10026": (
        TENCH,
        [(5.0, 6.0, 20.0, 10.0), (30.0, 2.0, 29.0, 37.0)],
        [("n01440764", "5 6 25 16"), ("n01440764", "30 2 59 39")],
        "RGB JPEG",
    ),
    # no XML
    "n01440764_2": (TENCH, None, None, "RGB JPEG"),
    # coordinates with a decimal point, and not the synset but a word in the XML
    "n02012849_3": (CRANE, [(0.5, 1.25, 40.0, 30.5)], [("crane", "0.5 1.25 40.5 31.75")], "CMYK JPEG"),
    "n02012849_5": (CRANE, None, None, "RGB JPEG"),
    "n03126707_6": (CRANE_MACHINE, None, None, "RGB JPEG"),
    # ImageNet has one such image
    "n03126707_4": (CRANE_MACHINE, [(10.0, 10.0, 10.0, 10.0)], [("n03126707", "10 10 20 20")], "L PNG"),
}
IMAGENET_TEST = {
    "ILSVRC2012_val_00000001": (CRANE_MACHINE, [(11.0, 10.0, 33.0, 8.0)], [("n03126707", "11 10 44 18")], "RGB JPEG"),
    "ILSVRC2012_val_00000002": (
        CRANE,
        [(4.0, 4.0, 45.0, 12.0), (2.0, 6.0, 41.0, 14.0)],
        [("n02012849", "4 4 49 16"), ("n02012849", "2 6 43 20")],
        "RGB JPEG",
    ),
    "ILSVRC2012_val_00000003": (TENCH, [(0.0, 0.0, 59.0, 39.0)], [("n01440764", "0 0 59 39")], "RGB JPEG"),
}


def write_imagenet_images(tree: OfficialTree, train: str, test: str, train_boxes: str, test_boxes: str):
    for split, images in (("train", IMAGENET_TRAIN), ("test", IMAGENET_TEST)):
        for name, (label, boxes, objects, form) in images.items():
            synset = name.partition("_")[0]
            folder, boxes_folder = (
                (f"{train}/{synset}", f"{train_boxes}/{synset}") if split == "train" else (test, test_boxes)
            )
            tree.image(f"{folder}/{name}.JPEG", name, split, label, boxes, form=form)
            if objects is not None:
                tree.put(f"{boxes_folder}/{name}.xml", voc_xml((60, 40), objects))


def write_imagenet(folder: Path) -> OfficialTree:
    """What is in the archives by year, under their names."""
    tree = OfficialTree(folder, [TENCH, CRANE, CRANE_MACHINE])
    write_imagenet_images(
        tree,
        train="ILSVRC2012_img_train",
        test="ILSVRC2012_img_val",
        train_boxes="ILSVRC2012_bbox_train_v2",
        test_boxes="ILSVRC2012_bbox_val_v3/val",
    )
    # the kit numbers the classes in an order of its own, and has what is above them, too
    synsets = [
        (1, "n03126707", "crane", "lifts and moves heavy objects", 0, np.zeros((1, 0)), 0, 1),
        (2, "n01440764", "tench, Tinca tinca", "freshwater game fish", 0, np.zeros((1, 0)), 0, 2),
        (3, "n02012849", "crane", "large long-necked wading bird", 0, np.zeros((1, 0)), 0, 1),
        (4, "n00001740", "entity", "that which is perceived", 3, np.array([[1, 2, 3]]), 1, 0),
    ]
    names = (
        "ILSVRC2012_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    )
    kit = "ILSVRC2012_devkit_t12"
    tree.put(f"{kit}/data/meta.mat", mat_bytes(synsets=structs(synsets, names, column=True)))
    tree.put(f"{kit}/data/ILSVRC2012_validation_ground_truth.txt", "1\n3\n2\n")
    tree.put(f"{kit}/readme.txt", "about the kit\n")
    # ImageNetV2: numbered in the lists, named by contents in the archive
    tree.image(
        "imagenetv2-threshold0.7/2/c5f0dbc5dcd7.jpeg",
        "val2/2/0.jpeg",
        "validation",
        CRANE_MACHINE,
        [(1.0, 2.0, 3.0, 4.0)],
    )
    write_lists(tree, "metadata/ILSVRC/val", {"val2/2/0.jpeg": (2, (60, 40), ["1,2,4,6"])})
    tree.put("metadata/ILSVRC/val/mapping.txt", "2/0.jpeg, 2/c5f0dbc5dcd7.jpeg\n")
    return tree


def pack_imagenet(folder: Path, out: Path):
    synsets = folder / "class archives"
    synsets.mkdir()
    for synset in sorted((folder / "ILSVRC2012_img_train").iterdir()):
        pack(synset, synsets / f"{synset.name}.tar", ".")
    pack(synsets, out / "ILSVRC2012_img_train.tar", ".")
    pack(folder / "ILSVRC2012_img_val", out / "ILSVRC2012_img_val.tar", ".")
    pack(folder / "ILSVRC2012_bbox_train_v2", out / "ILSVRC2012_bbox_train_v2.tar.gz", ".")
    pack(folder / "ILSVRC2012_bbox_val_v3", out / "ILSVRC2012_bbox_val_v3.tgz", "val")
    pack(folder, out / "ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_devkit_t12")
    pack(folder, out / "imagenetv2-threshold0.7.tar.gz", "imagenetv2-threshold0.7")
    shutil.copytree(folder / "metadata", out / "metadata")


def write_imagenet_tree(folder: Path) -> OfficialTree:
    """The tree of Kaggle's copy."""
    tree = OfficialTree(folder, [TENCH, CRANE, CRANE_MACHINE])
    write_imagenet_images(
        tree,
        train="ILSVRC/Data/CLS-LOC/train",
        test="ILSVRC/Data/CLS-LOC/val",
        train_boxes="ILSVRC/Annotations/CLS-LOC/train",
        test_boxes="ILSVRC/Annotations/CLS-LOC/val",
    )
    tree.put("ILSVRC/Data/CLS-LOC/test/ILSVRC2012_test_00000001.JPEG", image_bytes((60, 40)))
    lists = "ILSVRC/ImageSets/CLS-LOC"
    names = [f"{name.partition('_')[0]}/{name}" for name in IMAGENET_TRAIN]
    tree.put(f"{lists}/train_cls.txt", "".join(f"{name} {row}\n" for row, name in enumerate(names, start=1)))
    tree.put(f"{lists}/train_loc.txt", f"{names[0]} 1\n")
    tree.put(f"{lists}/val.txt", "".join(f"{name} {row}\n" for row, name in enumerate(IMAGENET_TEST, start=1)))
    tree.put(f"{lists}/test.txt", "ILSVRC2012_test_00000001 1\n")
    tree.put("LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n")
    tree.put(
        "LOC_val_solution.csv",
        "ImageId,PredictionString\n"
        "ILSVRC2012_val_00000003,n01440764 0 0 59 39 \n"
        "ILSVRC2012_val_00000001,n03126707 11 10 44 18 \n"
        "ILSVRC2012_val_00000002,n02012849 4 4 49 16 n02012849 2 6 43 20 \n",
    )
    return tree


def pack_imagenet_tree(folder: Path, out: Path):
    pack(
        folder,
        out / "imagenet-object-localization-challenge.zip",
        "ILSVRC",
        "LOC_synset_mapping.txt",
        "LOC_val_solution.csv",
    )


# OpenImages30k


def write_openimages(folder: Path) -> OfficialTree:
    tree = OfficialTree(folder, ["Cheetah", "Tortoise"])
    size = (60, 40)
    first, second, ignored = (
        rectangle(size, 2, 3, 10, 20),
        rectangle(size, 8, 10, 30, 5),
        rectangle(size, 0, 0, 20, 40),
    )
    images, masks = "OpenImages_images", "OpenImages_annotations"
    tree.image(f"{images}/train/0cd4d/aa11.jpg", "train/0cd4d/aa11.jpg", "train", "Cheetah", None)
    tree.image(f"{images}/train/011k07/bb22.jpg", "train/011k07/bb22.jpg", "train", "Tortoise", None)
    tree.image(
        f"{images}/val/0cd4d/cc33.jpg",
        "val/0cd4d/cc33.jpg",
        "validation",
        "Cheetah",
        None,
        mask=first | second,
        ignore_mask=ignored & ~(first | second),
    )
    tree.image(f"{images}/test/011k07/dd44.jpg", "test/011k07/dd44.jpg", "test", "Tortoise", None, mask=second)
    for name, mask in (
        ("val/0cd4d/cc33_m0cd4d_1.png", first),
        ("val/0cd4d/cc33_m0cd4d_2.png", second),
        ("val/0cd4d/cc33_ignore.png", ignored),
        ("test/011k07/dd44_m011k07_1.png", second),
    ):
        tree.put(f"{masks}/{name}", png_bytes(mask * 255))
    lists = "metadata/OpenImages"
    # the lists of train are not in the same order
    write_lists(
        tree, f"{lists}/train", {"train/0cd4d/aa11.jpg": (0, None, []), "train/011k07/bb22.jpg": (1, None, [])}
    )
    tree.put(f"{lists}/train/class_labels.txt", "train/011k07/bb22.jpg,1\r\ntrain/0cd4d/aa11.jpg,0\r\n")
    located = ["val/0cd4d/cc33_m0cd4d_1.png,val/0cd4d/cc33_ignore.png", "val/0cd4d/cc33_m0cd4d_2.png,"]
    write_lists(tree, f"{lists}/val", {"val/0cd4d/cc33.jpg": (0, None, located)})
    write_lists(tree, f"{lists}/test", {"test/011k07/dd44.jpg": (1, None, ["test/011k07/dd44_m011k07_1.png,"])})
    tree.put("class-descriptions-boxable.csv", "/m/011k07,Tortoise\n/m/0cd4d,Cheetah\n/m/0k4j,Car\n")
    return tree


def pack_openimages(folder: Path, out: Path):
    for name in ("OpenImages_images", "OpenImages_annotations"):
        pack(folder / name, out / f"{name}.zip", ".")
    shutil.copytree(folder / "metadata", out / "metadata")
    shutil.copy(folder / "class-descriptions-boxable.csv", out)


# wsolevaluation's own tree. It has the lists of three sets, and the images of one.


def write_wsoleval(folder: Path) -> OfficialTree:
    tree = OfficialTree(folder, ["Black footed Albatross", "Laysan Albatross"])
    albatross, laysan = "001.Black_footed_Albatross", "002.Laysan_Albatross"
    # class from 0, boxes, and corners in the list
    splits = {
        "train": {
            f"{laysan}/a 1.jpg": (1, [(1.0, 2.0, 30.0, 20.0)], ["1,2,31,22"]),
            f"{albatross}/b.jpg": (0, [(0.0, 0.0, 60.0, 40.0)], ["0,0,60,40"]),
            f"{laysan}/d.jpg": (1, [(3.0, 3.0, 3.0, 3.0)], ["3,3,6,6"]),
            f"{albatross}/e.jpg": (0, [(5.0, 5.0, 5.0, 5.0)], ["5,5,10,10"]),
        },
        "test": {
            f"{albatross}/c.jpg": (
                0,
                [(10.0, 10.0, 20.0, 20.0), (40.5, 1.0, 9.5, 30.0)],
                ["10,10,30,30", "40.5,1,50,31"],
            ),
        },
    }
    for split, images in splits.items():
        for name, (label, boxes, _) in images.items():
            tree.image(f"dataset/CUB/{name}", name, split, tree.class_names[label], boxes)
        located = {name: (label, (60, 40), lines) for name, (label, _, lines) in images.items()}
        write_lists(tree, f"metadata/CUB/{split}", located)
    write_lists(tree, "metadata/OpenImages/test", {"test/0cd4d/cc33.jpg": (0, None, ["test/0cd4d/cc33_1.png,"])})
    return tree


def pack_wsoleval(folder: Path, out: Path):
    pack(folder, out / "wsolevaluation.tar.gz", "metadata", "dataset")


# Stanford Dogs


def write_dogs(folder: Path) -> OfficialTree:
    tree = OfficialTree(folder, ["Chihuahua", "toy poodle"])
    small, poodle = "n02085620-Chihuahua", "n02113624-toy_poodle"
    images = {
        f"{small}/n02085620_7": ("train", "Chihuahua", [(25.0, 10.0, 30.0, 28.0)], [("Chihuahua", "25 10 55 38")]),
        f"{small}/n02085620_8": ("train", "Chihuahua", [(0.5, 1.0, 2.0, 3.25)], [("Chihuahua", "0.5 1 2.5 4.25")]),
        f"{small}/n02085620_10074": ("test", "Chihuahua", [(0.0, 0.0, 60.0, 40.0)], [("Chihuahua", "0 0 60 40")]),
        f"{poodle}/n02113624_20": (
            "train",
            "toy poodle",
            [(1.0, 2.0, 10.0, 12.0), (30.0, 2.0, 10.0, 12.0)],
            [("toy_poodle", "1 2 11 14"), ("toy_poodle", "30 2 40 14")],
        ),
        f"{poodle}/n02113624_21": ("train", "toy poodle", [(9.0, 9.0, 9.0, 9.0)], [("toy_poodle", "9 9 18 18")]),
        f"{poodle}/n02113624_2933": ("test", "toy poodle", [(3.0, 4.0, 5.0, 6.0)], [("toy_poodle", "3 4 8 10")]),
    }
    for name, (split, label, boxes, objects) in images.items():
        # one image of the set is a PNG with transparency under another name
        form = "RGBA PNG" if name.endswith("2933") else "RGB JPEG"
        tree.image(f"Images/{name}.jpg", name, split, label, boxes, form=form)
        tree.put(f"Annotation/{name}", voc_xml((60, 40), objects))
    labels = {small: 1.0, poodle: 2.0}
    everything = {"file_list": list(images)}
    for split in ("train", "test"):
        everything[f"{split}_list"] = [name for name, image in images.items() if image[0] == split]
    for file, names in everything.items():
        tree.put(
            f"{file}.mat",
            mat_bytes(
                file_list=cells([f"{name}.jpg" for name in names], column=True),
                annotation_list=cells(names, column=True),
                labels=np.array([[labels[name.partition("/")[0]]] for name in names]),
            ),
        )
    return tree


def pack_dogs(folder: Path, out: Path):
    pack(folder, out / "images.tar", "Images")
    pack(folder, out / "annotation.tar", "Annotation")
    pack(folder, out / "lists.tar", "file_list.mat", "train_list.mat", "test_list.mat")


# Stanford Cars, in both forms

CAR_NAMES = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"]

# file, class from 1, corners in the smallest type that holds them, as MATLAB writes them, and box
CARS = {
    "train": [
        ("00001.jpg", 2, (5, 10, 55, 35), (5.0, 10.0, 50.0, 25.0)),
        ("00002.jpg", 1, (1, 1, 300, 150), (1.0, 1.0, 299.0, 149.0)),
        ("00003.jpg", 2, (0, 0, 320, 200), (0.0, 0.0, 320.0, 200.0)),
        ("00004.jpg", 1, (7, 8, 9, 11), (7.0, 8.0, 2.0, 3.0)),
    ],
    "test": [("00001.jpg", 1, (200, 100, 310, 190), (200.0, 100.0, 110.0, 90.0))],
}


def smallest(*numbers: int) -> list[np.ndarray]:
    return [np.array([[number]], dtype=np.min_scalar_type(number)) for number in numbers]


def write_cars(folder: Path) -> OfficialTree:
    tree = OfficialTree(folder, CAR_NAMES)
    names = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    tree.put("devkit/cars_meta.mat", mat_bytes(class_names=cells(CAR_NAMES)))
    for split, path in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = []
        for file, label, corners, box in CARS[split]:
            tree.image(
                f"cars_{split}/{file}", f"cars_{split}/{file[:-4]}", split, CAR_NAMES[label - 1], [box], (320, 200)
            )
            rows.append((*smallest(*corners, label), file))
        tree.put(path, mat_bytes(annotations=structs(rows, names)))
    # the kit's own list of test has no classes
    tree.put(
        "devkit/cars_test_annos.mat", mat_bytes(annotations=structs([(*rows[0][:4], file)], (*names[:4], "fname")))
    )
    return tree


def pack_cars(folder: Path, out: Path):
    pack(folder, out / "cars_train.tgz", "cars_train")
    pack(folder, out / "cars_test.tgz", "cars_test")
    pack(folder, out / "car_devkit.tgz", "devkit")
    shutil.copy(folder / "cars_test_annos_withlabels.mat", out)


def write_cars_in_one(folder: Path) -> OfficialTree:
    tree = OfficialTree(folder, CAR_NAMES)
    rows = []
    for split, images in CARS.items():
        for _, label, corners, box in images:
            path = f"car_ims/{len(rows) + 1:06d}.jpg"
            tree.image(path, path[:-4], split, CAR_NAMES[label - 1], [box], (320, 200))
            rows.append((path, *smallest(*corners, label), np.array([[int(split == "test")]], dtype=np.uint8)))
    names = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    tree.put("cars_annos.mat", mat_bytes(annotations=structs(rows, names), class_names=cells(CAR_NAMES)))
    return tree


def pack_cars_in_one(folder: Path, out: Path):
    pack(folder, out / "car_ims.tgz", "car_ims")
    shutil.copy(folder / "cars_annos.mat", out)


# FGVC-Aircraft


def write_aircraft(folder: Path) -> OfficialTree:
    # in the order of variants.txt, which is not that of the alphabet
    tree = OfficialTree(folder, ["Falcon 2000", "707-320", "F/A-18"])
    images = {
        "1025794": ("train", "707-320", (3.0, 14.0, 50.0, 20.0)),
        "0034309": ("train", "Falcon 2000", (1.0, 1.0, 59.0, 19.0)),
        "1340192": ("validation", "F/A-18", (10.0, 5.0, 20.0, 10.0)),
        "0056978": ("test", "Falcon 2000", (0.0, 2.0, 30.0, 8.0)),
    }
    root = "fgvc-aircraft-2013b/data"
    for name, (split, label, box) in images.items():
        tree.image(f"{root}/images/{name}.jpg", name, split, label, [box])
    tree.put(f"{root}/images_variant_train.txt", "1025794 707-320\n0034309 Falcon 2000\n")
    tree.put(f"{root}/images_variant_val.txt", "1340192 F/A-18")
    tree.put(f"{root}/images_variant_test.txt", "0056978 Falcon 2000\r\n")
    tree.put(f"{root}/images_variant_trainval.txt", "1025794 707-320\n0034309 Falcon 2000\n1340192 F/A-18\n")
    tree.put(f"{root}/variants.txt", "Falcon 2000\n707-320\nF/A-18\n")
    tree.put(
        f"{root}/images_box.txt", "0034309 1 1 60 20\n0056978 0 2 30 10\n1025794 3 14 53 34\n1340192 10 5 30 15\n"
    )
    return tree


def pack_aircraft(folder: Path, out: Path):
    pack(folder, out / "fgvc-aircraft-2013b.tar.gz", "fgvc-aircraft-2013b")


# COCO


def write_coco(folder: Path) -> OfficialTree:
    tree = OfficialTree(folder, ["person", "bird"])
    categories = [{"id": 16, "name": "bird", "supercategory": "animal"}, {"id": 1, "name": "person"}]
    train = "train2017/000000000009.jpg"
    tree.image(train, train, "train", "bird", [(1.5, 2.0, 20.25, 30.0), (30.0, 4.0, 10.0, 9.5)])
    # of the crowd's own category, so the image is of one; the crowd has no box here
    crowd = "train2017/000000000025.jpg"
    tree.image(crowd, crowd, "train", "person", [(5.0, 5.0, 10.0, 20.0)])
    val = "val2017/000000000139.jpg"
    tree.image(val, val, "validation", "bird", [(0.0, 0.0, 60.0, 40.0)])
    for left_out in ("train2017/000000000030.jpg", "train2017/000000000034.jpg", "train2017/000000000036.jpg"):
        tree.put(left_out, image_bytes((60, 40)))

    def image(number: int) -> dict:
        return {"id": number, "file_name": f"{number:012d}.jpg", "width": 60, "height": 40}

    def annotation(image_id: int, category: int, box: list, crowd: int = 0) -> dict:
        outline = {"counts": [1, 2], "size": [40, 60]} if crowd else [[1.0, 1.0, 2.0, 1.0, 2.0, 2.0]]
        return {"image_id": image_id, "category_id": category, "bbox": box, "iscrowd": crowd, "segmentation": outline}

    annotations = [
        annotation(9, 16, [1.5, 2.0, 20.25, 30.0]),
        annotation(25, 1, [0, 0, 50, 40], crowd=1),
        annotation(9, 16, [30, 4, 10, 9.5]),
        annotation(25, 1, [5, 5, 10, 20]),
        # 30: two categories, 34: nothing, 36: a crowd alone
        annotation(30, 1, [5, 5, 10, 20]),
        annotation(30, 16, [5, 5, 10, 20]),
        annotation(36, 1, [5, 5, 10, 20], crowd=1),
    ]
    images = [image(number) for number in (9, 25, 30, 34, 36)]
    contents = {"images": images, "annotations": annotations, "categories": categories}
    tree.put("annotations/instances_train2017.json", json.dumps(contents))
    contents = {"images": [image(139)], "annotations": [annotation(139, 16, [0, 0, 60, 40])], "categories": categories}
    tree.put("annotations/instances_val2017.json", json.dumps(contents))
    tree.put("annotations/captions_val2017.json", "{}")
    return tree


def pack_coco(folder: Path, out: Path):
    pack(folder, out / "annotations_trainval2017.zip", "annotations")
    pack(folder, out / "train2017.zip", "train2017")
    pack(folder, out / "val2017.zip", "val2017")


# PASCAL VOC


def write_voc(folder: Path) -> OfficialTree:
    tree = OfficialTree(folder, ["bird", "sheep"])
    root, size = "VOCdevkit/VOC2012", (60, 40)
    # two objects and their outline, as VOC numbers them
    segmentation = np.zeros((40, 60), dtype=np.uint8)
    segmentation[5:25, 5:30], segmentation[10:30, 40:55], segmentation[4, 4:31] = 1, 2, 255
    boxes = [(5.0, 5.0, 25.0, 20.0), (40.0, 10.0, 15.0, 20.0)]
    tree.image(
        f"{root}/JPEGImages/2007_000001.jpg",
        "2007_000001",
        "train",
        "sheep",
        boxes,
        mask=rectangle(size, 5, 5, 25, 20) | rectangle(size, 40, 10, 15, 20),
        ignore_mask=rectangle(size, 4, 4, 27, 1),
    )
    tree.put(f"{root}/SegmentationObject/2007_000001.png", png_bytes(segmentation, palette=True))
    tree.image(f"{root}/JPEGImages/2008_000002.jpg", "2008_000002", "train", "bird", [(1.0, 2.5, 30.0, 20.0)])
    tree.image(f"{root}/JPEGImages/2008_000003.jpg", "2008_000003", "validation", "bird", [(0.0, 0.0, 59.0, 39.0)])
    annotations = {
        "2007_000001": [("sheep", "5 5 30 25"), ("sheep", "40 10 55 30")],
        # the second one is difficult: of the image's class, but without a box here
        "2008_000002": [("bird", "1 2.5 31 22.5"), ("bird", "50 30 59 39", "difficult")],
        "2008_000003": [("bird", "0 0 59 39")],
        # left out: two classes, a second class that is difficult, and a difficult one alone
        "2008_000004": [("bird", "0 0 59 39"), ("sheep", "1 1 2 2")],
        "2008_000005": [("bird", "0 0 59 39"), ("sheep", "1 1 2 2", "difficult")],
        "2008_000006": [("bird", "0 0 59 39", "difficult")],
    }
    for name, objects in annotations.items():
        tree.put(f"{root}/Annotations/{name}.xml", voc_xml(size, objects))
        if name not in tree.known:
            tree.put(f"{root}/JPEGImages/{name}.jpg", image_bytes(size))
    lists = f"{root}/ImageSets/Main"
    tree.put(f"{lists}/train.txt", "2007_000001\n2008_000002\n2008_000004\n2008_000005\n")
    tree.put(f"{lists}/val.txt", "2008_000003\r\n2008_000006")
    tree.put(f"{lists}/trainval.txt", "\n".join(annotations))
    tree.put(f"{lists}/bird_train.txt", "2007_000001 -1\n")
    return tree


def pack_voc(folder: Path, out: Path):
    pack(folder, out / "VOCtrainval_11-May-2012.tar", "VOCdevkit")


OFFICIAL_SETS = {
    "cub": OfficialSet("cub", write_cub, pack_cub),
    "ilsvrc": OfficialSet("ilsvrc", write_imagenet, pack_imagenet),
    "ilsvrc-tree": OfficialSet("ilsvrc", write_imagenet_tree, pack_imagenet_tree),
    "openimages": OfficialSet("openimages", write_openimages, pack_openimages),
    "wsoleval": OfficialSet("wsoleval", write_wsoleval, pack_wsoleval),
    "stanford-dogs": OfficialSet("stanford-dogs", write_dogs, pack_dogs),
    "stanford-cars": OfficialSet("stanford-cars", write_cars, pack_cars),
    "stanford-cars-in-one": OfficialSet("stanford-cars", write_cars_in_one, pack_cars_in_one),
    "fgvc-aircraft": OfficialSet("fgvc-aircraft", write_aircraft, pack_aircraft),
    "coco": OfficialSet("coco", write_coco, pack_coco),
    "voc": OfficialSet("voc", write_voc, pack_voc),
}


def write_official(form: str, packed: bool, folder: Path) -> tuple[Path, OfficialTree]:
    """Writes a set below a folder, unpacked or as archives; returns the source and what is true about it."""
    official = OFFICIAL_SETS[form]
    files = folder / "files"
    files.mkdir(parents=True)
    tree = official.write(files)
    if not packed:
        return files, tree
    archives = folder / "archives"
    archives.mkdir()
    official.pack(files, archives)
    return archives, tree


__all__ = [
    "CRANE",
    "CRANE_MACHINE",
    "OFFICIAL_SETS",
    "TENCH",
    "Known",
    "OfficialTree",
    "cells",
    "image_bytes",
    "mat_bytes",
    "structs",
    "voc_xml",
    "write_official",
]
