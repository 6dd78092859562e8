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
Archives and annotations that were damaged at random, through the readers of `prepare --verify`: each gives a report or an
error of its own, and nothing is written but in the temporary folder.
"""

import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers.utils import logging


for folder in ("prepare", "prepare/readers"):
    sys.path.append(str(Path(__file__).parents[1] / folder))

from official_trees import OFFICIAL_SETS, write_official  # noqa: E402
from prepare_fixtures import contents, image_bytes, tar_bytes, write_files, zip_bytes  # noqa: E402

from transformers_sat.escaping import on_console  # noqa: E402
from transformers_sat.prepare import open_source  # noqa: E402
from transformers_sat.prepare.engine import verify_dataset  # noqa: E402
from transformers_sat.prepare.readers import READERS  # noqa: E402


SECONDS = 15
# Also of a machine that is busy.
LEAST = 30

ODD_VALUES = (
    *(None, True, "", "x", [], {}, [[]], {"a": 1}, -1, 0, 1.5, 2**63, 10**400, 1e300, float("nan"), float("inf")),
    *("\ud800", "\x1b[31m", "../x", "a" * 5000, [1, 2, 3], ["1", "2", "3", "4"], [[[[[[[[1]]]]]]]]),
)
ODD_WORDS = (b"nan", b"-1", b"1e999", b"9" * 5000, b"", b"\xff", b"\0", b"a b", b",", b'"', b"<", b"&#0;", b"../..")

METADATA = [
    {"file_name": "1.png", "label": "robin", "objects": {"bbox": [[1, 2, 10, 11]], "category": ["robin"]}},
    {"file_name": "2.png", "label": "wren", "width": 40, "height": 30, "image_id": "w", "mask_file_name": "m.png"},
]


def write_folder(folder: Path) -> Path:
    lines = "\n".join(map(json.dumps, METADATA)).encode()
    images = {name: image_bytes(number, form="PNG") for number, name in enumerate(("1.png", "2.png", "m.png"))}
    files = {"metadata.jsonl": lines, **images}
    more = b'file_name,label,objects\n3.png,robin,"{""bbox"": [[0, 0, 5, 5]]}"\n'
    write_files(folder / "train", files)
    return write_files(folder, {"test/metadata.csv": more, "test/3.png": image_bytes(3, form="PNG")})


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Bytes turned over, cut off, repeated, or overwritten with what lengths and sizes are made of."""
    content = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 8))):
        at = dice.randrange(len(content) + 1)
        kind = dice.randrange(5)
        if kind == 0:
            content[at : at + 1] = dice.randbytes(1)
        elif kind == 1:
            content[at : at + 4] = dice.choice((b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"7777"))
        elif kind == 2:
            del content[at : at + dice.randrange(1, 600)]
        elif kind == 3:
            content[at:at] = content[at : at + dice.randrange(1, 600)]
        else:
            del content[max(at, len(content) // 8) :]
    return bytes(content)


def with_odd_value(content: bytes, dice: random.Random) -> bytes:
    """JSON, or a line of it, in which one value is another."""
    lines = content.split(b"\n")
    number = dice.randrange(len(lines))
    try:
        value = {"root": json.loads(lines[number])}
    except ValueError:
        return with_odd_word(content, dice)
    places = [(value, "root")]
    for container, key in places:
        inside = container[key]
        if isinstance(inside, dict | list):
            places += [(inside, each) for each in (inside if isinstance(inside, dict) else range(len(inside)))]
    container, key = dice.choice(places)
    if isinstance(container, dict) and dice.random() < 0.2:
        del container[key]
    else:
        container[key] = dice.choice(ODD_VALUES)
    lines[number] = json.dumps(value.get("root")).encode()
    return b"\n".join(lines)


def with_odd_word(content: bytes, dice: random.Random) -> bytes:
    """A list, or XML, in which one word is another."""
    words = content.replace(b">", b"> ").replace(b"<", b" <").replace(b",", b" , ").split(b" ")
    words[dice.randrange(len(words))] = dice.choice(ODD_WORDS)
    return b" ".join(words).replace(b"> ", b">").replace(b" <", b"<").replace(b" , ", b",")


def change_of(path: Path, dice: random.Random) -> Callable[[bytes, random.Random], bytes]:
    if path.suffix in (".json", ".jsonl") and dice.random() < 0.8:
        return with_odd_value
    if path.suffix in (".txt", ".xml", ".csv") and dice.random() < 0.7:
        return with_odd_word
    return damaged


def sources_of(folder: Path) -> list[tuple[str, Path, list[Path]]]:
    """Readers, their sources, and the files to damage in each: archives, and annotations that were unpacked."""
    sources = []
    for form in ("cub", "fgvc-aircraft", "coco", "voc", "wsoleval", "openimages", "stanford-cars"):
        for packed in (True, False):
            source, _ = write_official(form, packed, folder / f"{form} {packed}")
            files = [path for path in source.rglob("*") if path.is_file() and path.suffix not in (".jpg", ".png")]
            sources.append((OFFICIAL_SETS[form].reader, source, files))
    unpacked = write_folder(folder / "imagefolder")
    sources.append(("imagefolder", unpacked, sorted(unpacked.rglob("metadata.*"))))
    inside = {str(path.relative_to(unpacked)): path.read_bytes() for path in unpacked.rglob("*") if path.is_file()}
    for name, packed in {
        "a.tar": tar_bytes(inside),
        "a.tgz": tar_bytes(inside, "w:gz"),
        "a.zip": zip_bytes(inside),
        "b.zip": zip_bytes({"inner.tgz": tar_bytes(inside, "w:gz")}),
    }.items():
        source = write_files(folder / name, {name: packed})
        sources.append(("imagefolder", source, [source / name]))
    return sources


def verdict(reader: str, source: Path) -> str:
    """What `prepare --verify` comes to; errors are those that its command prints on one line."""
    try:
        report, num_images, _ = verify_dataset(READERS[reader](open_source(source)))
    except ValueError as error:
        first_line = on_console(str(error)).partition("\n")[0]
        assert 10 < len(first_line) < 3000, first_line
        return "an error"
    assert num_images > 0
    return "a report with problems" if report else "a report without"


@pytest.mark.slow
def test_damaged_sources_are_reported(tmp_path, monkeypatch, report_counts):
    logging.set_verbosity_error()
    work, here = tmp_path / "work", tmp_path / "here"
    work.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(work))
    sources = sources_of(tmp_path / "sources")
    before = contents(tmp_path)

    dice, counts = random.Random(20260101), Counter()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        reader, source, files = dice.choice(sources)
        path = dice.choice(files)
        kept = path.read_bytes()
        changed = change_of(path, dice)(kept, dice)
        if path.suffix == ".mat" and dice.random() < 0.8:
            # a process for each
            continue
        path.write_bytes(changed)
        try:
            counts[verdict(reader, source)] += 1
        except BaseException:
            shutil.copy(path, tmp_path / f"found{path.suffix}")
            print(f"{reader}, {path.relative_to(tmp_path)}, kept as {tmp_path / f'found{path.suffix}'}")
            raise
        finally:
            path.write_bytes(kept)
        assert not any(work.iterdir()) and not any(here.iterdir())
    assert contents(tmp_path) == before
    report_counts("damaged sources", tried=counts.total(), **counts)
    assert counts.total() >= LEAST
    assert counts["an error"] > 0 and counts["a report with problems"] + counts["a report without"] > 0
