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
import io
import subprocess

import datasets
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stamps import small_files, write_files

from transformers_sat.cli import main
from transformers_sat.drawn.stamps import LARGEST_UPSCALING, SPLITS, StampCollection, is_cluttered
from transformers_sat.drawn.stamps_files import catalog_paths, read_catalog, read_stamp_files


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return small_files()


@pytest.fixture(scope="module")
def collection(files) -> StampCollection:
    return StampCollection(files)


@pytest.fixture(scope="module")
def unpacked(files, tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("packages"), files)


def thing_pixels(image: PIL.Image.Image) -> np.ndarray:
    """Where an image has the colour of the cut-outs: red and blue far above green."""
    red, green, blue = np.moveaxis(np.asarray(image).astype(int), -1, 0)
    return (np.minimum(red, blue) - green) > 70


class TestCatalog:
    def test_no_background_is_in_two_splits(self):
        backgrounds = read_catalog()["backgrounds"]
        assert set(backgrounds) == set(SPLITS)
        paths = [path for split in backgrounds.values() for path in split]
        assert len(paths) == len(set(paths))

    def test_no_cutout_of_test_is_in_training(self):
        catalog = read_catalog()
        for parts in [*catalog["groups"].values(), catalog["distractors"]]:
            assert parts["train"] and parts["test"]
        train = {path for parts in catalog["groups"].values() for path in parts["train"]}
        test = {path for parts in catalog["groups"].values() for path in parts["test"]}
        assert not train & test
        things = train | test | {path for paths in catalog["species"].values() for path in paths}
        assert not things & {path for paths in catalog["distractors"].values() for path in paths}

    def test_no_cutout_has_two_classes(self):
        catalog = read_catalog()
        of_groups = [path for parts in catalog["groups"].values() for paths in parts.values() for path in paths]
        of_species = [path for paths in catalog["species"].values() for path in paths]
        for paths in (of_groups, of_species):
            assert len(paths) == len(set(paths))

    def test_drawn_things_are_left_out(self):
        assert not [path for path in catalog_paths(read_catalog()) if "cartoon" in path or "toys" in path]


class TestDrawing:
    @settings(max_examples=25, deadline=None)
    @given(split=st.sampled_from(SPLITS), index=st.integers(0, 10**6), seed=st.integers(0, 100))
    def test_box_and_mask_are_where_the_thing_is(self, collection, split, index, seed):
        image = collection.draw(split, index, cluttered_fraction=0.5, seed=seed)
        seen = thing_pixels(image.image)
        x, y, width, height = image.bbox
        rows, columns = np.nonzero(seen)
        # half-covered pixels at the outline may count or not
        assert abs(np.array([columns.min(), rows.min()]) - (x, y)).max() <= 1
        assert abs(np.array([columns.max() + 1, rows.max() + 1]) - (x + width, y + height)).max() <= 1
        assert (seen & image.mask).sum() / (seen | image.mask).sum() > 0.93
        assert 0 <= x and 0 <= y and x + width <= image.image.width and y + height <= image.image.height

    def test_a_cutout_grows_no_more_than_the_largest_upscaling(self, collection):
        # 130 x 70 pixels, turned by at most 12 degrees
        long_sides = [max(collection.draw("train", index).bbox[2:]) for index in range(60)]
        assert max(long_sides) <= 130 * LARGEST_UPSCALING + 2
        assert max(long_sides) > 200 and min(long_sides) < 110

    def test_clutter_lies_beside_the_thing(self, collection):
        clean = collection.draw("test", 0, cluttered_fraction=0.0)
        cluttered = collection.draw("test", 0, cluttered_fraction=1.0)
        assert (clean.cluttered, cluttered.cluttered) == (False, True)
        assert clean.bbox == cluttered.bbox and np.array_equal(clean.mask, cluttered.mask)
        green = np.asarray(cluttered.image).astype(int)
        assert ((green[..., 1] - green[..., 0]) > 50).sum() > 20
        assert np.array_equal(np.asarray(clean.image)[clean.mask], np.asarray(cluttered.image)[clean.mask])

    def test_depends_on_seed_split_and_index_alone(self, files, collection):
        again = StampCollection(files)
        for split in SPLITS:
            assert np.array_equal(collection.draw(split, 7).image, again.draw(split, 7).image)
        images = [collection.draw(*where).image.tobytes() for where in (("train", 7), ("test", 7), ("train", 8))]
        assert len({*images, collection.draw("train", 7, seed=1).image.tobytes()}) == 4

    @given(fraction=st.floats(0, 1), turns=st.integers(1, 500))
    def test_share_of_cluttered_images(self, fraction, turns):
        assert abs(sum(is_cluttered(turn, fraction) for turn in range(turns)) - turns * fraction) < 1

    def test_species_have_the_same_cutouts_in_all_splits(self, files):
        species = StampCollection(files, "species")
        assert species.cutout_paths("train") == species.cutout_paths("test")
        assert len(species.class_names) > 80

    def test_unknown_variant(self, files):
        with pytest.raises(ValueError, match="one of group, species, got 'genus'"):
            StampCollection(files, "genus")


class TestFiles:
    def test_out_of_debian_packages(self, files, tmp_path):
        half = len(files) // 2
        for number, part in enumerate((list(files.items())[:half], list(files.items())[half:])):
            folder = write_files(tmp_path / f"part{number}", dict(part))
            control = folder / "DEBIAN" / "control"
            control.parent.mkdir()
            control.write_text(
                f"Package: part{number}\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: part\n",
                encoding="utf-8",
            )
            command = ["dpkg-deb", "--build", "-Znone", str(folder), str(tmp_path / f"part{number}.deb")]
            subprocess.run(command, check=True, capture_output=True)
        assert read_stamp_files(tmp_path) == files

    def test_out_of_a_folder_for_each_package(self, files, tmp_path):
        for number, (path, content) in enumerate(files.items()):
            write_files(tmp_path / f"package-{number % 3}", {path: content})
        assert read_stamp_files(tmp_path) == files

    def test_a_missing_file_is_named(self, files, tmp_path):
        missing = next(iter(files))
        write_files(tmp_path, {path: content for path, content in files.items() if path != missing})
        with pytest.raises(ValueError, match=f"1 of {len(files)} files.*{missing}"):
            read_stamp_files(tmp_path)

    def test_without_apt(self, monkeypatch):
        monkeypatch.setattr("shutil.which", lambda name: None)
        with pytest.raises(ValueError, match="no apt-get here.*--source"):
            read_stamp_files()


class TestPrepare:
    SIZES = ("--num_train", "30", "--num_validation", "12", "--num_test", "24")

    def prepare(self, unpacked, output, *options) -> int:
        return main(["prepare", "stamps", "--source", str(unpacked), "--output", str(output), *self.SIZES, *options])

    def test_data_set(self, unpacked, tmp_path):
        assert self.prepare(unpacked, tmp_path / "stamps") == 0
        loaded = datasets.load_dataset(str(tmp_path / "stamps"), cache_dir=str(tmp_path / "cache"))
        assert {split: len(rows) for split, rows in loaded.items()} == {"train": 30, "validation": 12, "test": 24}
        assert loaded["test"].features["label"].names[:3] == ["bird", "mammal", "fish"]
        assert loaded["test"]["label"] == [*range(12), *range(12)]
        assert sum(image_id.endswith("-cluttered") for image_id in loaded["test"]["image_id"]) == 12
        for row in loaded["test"]:
            mask = np.asarray(row["mask"]) > 127
            rows, columns = np.nonzero(mask)
            (x, y, width, height) = row["objects"]["bbox"][0]
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
            assert mask.shape == (row["image"].height, row["image"].width)

    def test_same_bytes_on_any_number_of_processes(self, unpacked, tmp_path):
        for name, options in (("one", []), ("two", ["--num_proc", "2"])):
            assert self.prepare(unpacked, tmp_path / name, "--max_shard_size", "400KB", *options) == 0
        one, two = (sorted((tmp_path / name / "data").iterdir()) for name in ("one", "two"))
        assert len(one) > 4
        assert [file.name for file in one] == [file.name for file in two]
        assert all(first.read_bytes() == second.read_bytes() for first, second in zip(one, two, strict=True))

    def test_images_are_those_that_are_drawn(self, files, unpacked, tmp_path):
        assert (
            self.prepare(
                unpacked, tmp_path / "stamps", "--variant", "species", "--cluttered_fraction", "0", "--num_test", "90"
            )
            == 0
        )
        rows = datasets.load_dataset(str(tmp_path / "stamps"), split="test", cache_dir=str(tmp_path / "cache"))
        expected = StampCollection(files, "species").draw("test", 5, cluttered_fraction=0.0)
        file = io.BytesIO()
        expected.image.save(file, "JPEG", quality=92)
        assert np.array_equal(rows[5]["image"], PIL.Image.open(file))

    def test_the_card_states_the_licences(self, unpacked, tmp_path):
        assert self.prepare(unpacked, tmp_path / "stamps") == 0
        card = (tmp_path / "stamps" / "README.md").read_text(encoding="utf-8")
        for stated in ("GPL-2.0-or-later", "CC-BY-4.0", "tuxpaint-stamps-default", "seed"):
            assert stated in card

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--cluttered_fraction", "1.5"], "from 0 to 1, got 1.5"),
            (["--num_test", "0"], "`num_test` must be at least 1, got 0"),
        ],
    )
    def test_settings_out_of_range(self, unpacked, tmp_path, capsys, options, message):
        assert self.prepare(unpacked, tmp_path / "stamps", *options) == 1
        assert message in capsys.readouterr().err
