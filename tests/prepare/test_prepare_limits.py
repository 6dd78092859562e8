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
"""Limits before parsing: small files that say they are large, deep or many cost little, and are named in an error."""

import gzip
import io
import json
import multiprocessing
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from prepare_fixtures import ListReader, listed, tar_bytes, write_files, zip_bytes

from transformers_sat.prepare import archives, open_source
from transformers_sat.prepare.engine import verify_dataset
from transformers_sat.prepare.readers import READERS, json_text
from transformers_sat.prepare.readers.json_text import parse_json
from transformers_sat.prepare.readers.voc_xml import read_annotation


MEGABYTE = 10**6

# What reading may take beside the interpreter and the libraries. Each of the files below took more without limits.
ALLOWED_MEGABYTES = 250


def outcome_of(read: Callable, *arguments) -> str:
    """What reading comes to, in a process of its own, after a look at the memory that it took."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=send_outcome, args=(theirs, read, arguments))
    process.start()
    theirs.close()
    # it may end without an answer
    outcome, megabytes = ours.recv() if ours.poll(120) else ("nothing in two minutes", 0)
    process.kill()
    process.join()
    assert megabytes < ALLOWED_MEGABYTES
    return outcome


def send_outcome(pipe, read: Callable, arguments: tuple):
    # the peak of the process that this one is a copy of is none of its own
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = peak_megabytes()
    try:
        outcome = str(read(*arguments))
    except ValueError as error:
        outcome = f"ValueError: {error}"
    pipe.send((outcome, peak_megabytes() - before))


def peak_megabytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1000


def read_dogs(folder: Path):
    return list(READERS["stanford-dogs"](open_source(folder)).records())


def tar_header(kind: bytes, size: int, name: str = "a.txt") -> bytearray:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return bytearray(member.tobuf(tarfile.GNU_FORMAT))


def with_checksum(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def write_gzip(path: Path, *parts: bytes | int):
    """Bytes, and for numbers as many megabytes of zeros."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            if isinstance(part, bytes):
                file.write(part)
            for _ in range(part if isinstance(part, int) else 0):
                file.write(bytes(MEGABYTE))


# Headers of tar files.


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]
)
def test_a_tar_header_of_300_megabytes(tmp_path, kind):
    write_gzip(tmp_path / "set.tgz", bytes(tar_header(kind, 300 * MEGABYTE)), 300, tar_bytes({"a.txt": b"a"}))
    assert (tmp_path / "set.tgz").stat().st_size < 2 * MEGABYTE
    outcome = outcome_of(open_source, tmp_path / "set.tgz")
    assert "set.tgz: the header of a member has more than 1048576 bytes" in outcome


def test_a_map_of_a_sparse_file_without_end(tmp_path):
    """It stands between header and contents, in as many blocks as say that one more follows."""
    header = tar_header(tarfile.GNUTYPE_SPARSE, 0)
    header[482] = 1
    more = bytes(504) + b"\1" + bytes(7)
    write_gzip(tmp_path / "set.tgz", with_checksum(header), *[more * 2000] * 100)
    outcome = outcome_of(open_source, tmp_path / "set.tgz")
    assert "set.tgz: the header of a member has more than 1048576 bytes" in outcome


def test_headers_of_headers_of_headers(tmp_path):
    content = b"".join([bytes(tar_header(tarfile.XHDTYPE, 0))] * 1500) + tar_bytes({"a.txt": b"a"})
    write_files(tmp_path, {"set.tar": content})
    with pytest.raises(ValueError, match="set.tar cannot be read"):
        open_source(tmp_path / "set.tar")


def test_a_member_that_leads_back_to_itself(tmp_path):
    header = tar_header(tarfile.REGTYPE, 0)
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"
    write_files(tmp_path, {"set.tar": with_checksum(header) + bytes(1024)})
    assert "set.tar cannot be read (a member has the size -512)" in outcome_of(open_source, tmp_path / "set.tar")


def test_global_headers_do_not_add_up(tmp_path):
    file = io.BytesIO()
    for number in range(3):
        value = b"500000 key%d=" % number
        record = value + b"v" * (500_000 - len(value) - 1) + b"\n"
        file.write(bytes(tar_header(tarfile.XGLTYPE, len(record))) + record + bytes(-len(record) % 512))
        file.write(tar_bytes({f"{number}.txt": b"a"})[:1024])
    write_files(tmp_path, {"set.tar": file.getvalue() + bytes(1024)})
    with pytest.raises(ValueError, match="set.tar: its global headers have more than 1048576 bytes"):
        open_source(tmp_path / "set.tar")


def test_names_of_many_folders(tmp_path):
    deep = "a/" * 100_000 + "b.jpg"
    write_files(tmp_path, {"set.tar": tar_bytes({deep: b"", "inner.tar": tar_bytes({}), "c.jpg": b""})})
    outcome = outcome_of(lambda: list(open_source(tmp_path / "set.tar").paths()))
    assert outcome == "['c.jpg']"


def test_honest_headers_are_read(tmp_path):
    """Long names, and the attributes that some systems write beside each file."""
    member = tarfile.TarInfo("folder/" * 100 + "größe.jpg")
    member.size, member.pax_headers = 3, {"comment": "x" * 200_000}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for _ in range(20):
            archive.addfile(member, io.BytesIO(b"abc"))
    write_files(tmp_path, {"set.tar": file.getvalue()})
    assert open_source(tmp_path / "set.tar").read(member.name) == b"abc"


# Archives in archives.


def test_archives_inside_zip_files_share_the_memory(tmp_path):
    inner = tar_bytes({"zeros": bytes(60 * MEGABYTE)})
    write_files(tmp_path, {"set.zip": zip_bytes({f"{number}.tar": inner for number in range(4)})})
    outcome = outcome_of(open_source, tmp_path / "set.zip")
    assert "2.tar is an archive inside a zip file" in outcome and "unpack the outer one" in outcome


def test_what_archives_unpack_to_is_counted_together(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE_EXPANSION_BYTES", 10 * MEGABYTE)
    inner = gzip.compress(tar_bytes({"zeros": bytes(6 * MEGABYTE)}))
    write_files(tmp_path / "one", {"set.tar": tar_bytes({"0.tgz": inner})})
    assert list(open_source(tmp_path / "one").paths()) == ["set/0/zeros"]
    write_files(tmp_path / "many", {"set.tar": tar_bytes({f"{number}.tgz": inner for number in range(9)})})
    with pytest.raises(ValueError, match="tgz unpacks to more than"):
        open_source(tmp_path / "many")


def test_a_zip_file_in_another_with_a_long_list(tmp_path):
    inner = zip_bytes(dict.fromkeys(map("{:0100d}".format, range(120_000)), b""), zipfile.ZIP_STORED)
    write_files(tmp_path, {"set.zip": zip_bytes({"inner.zip": inner})})
    outcome = outcome_of(open_source, tmp_path / "set.zip")
    assert "inner.zip: the list of members has more than" in outcome


# Lists and annotations.


def test_lines_and_lists_have_an_end(tmp_path, monkeypatch):
    write_files(tmp_path, {"set.zip": zip_bytes({"images.txt": b"1 a.jpg\n" + b"x" * 2 * MEGABYTE})})
    source = open_source(tmp_path)
    with pytest.raises(ValueError, match="set/images.txt, line 2 has more than 1048576 characters"):
        list(source.lines("set/images.txt"))
    monkeypatch.setattr(archives, "MAX_LIST_BYTES", MEGABYTE)
    with pytest.raises(ValueError, match="set/images.txt has 2000008 bytes; files of up to 1000000 are read"):
        list(source.lines("set/images.txt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<annotation>" + b"<a/>" * 3_700_000, "has 14800012 bytes; files of up to"),
        (b"<annotation>" + b"<a/>" * 500_000 + b"</annotation>", "it has more than 50000 elements"),
        (b"<a>" * 250_000, "it is nested more than 32 deep"),
    ],
)
def test_xml_of_many_elements(tmp_path, content, message):
    write_files(tmp_path, {"a.xml": content})
    assert message in outcome_of(read_annotation, open_source(tmp_path), "a.xml")


def test_the_largest_honest_annotation(tmp_path):
    thing = "<object><name>a</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object>"
    write_files(tmp_path, {"a.xml": f"<annotation>{thing * 5000}</annotation>".encode()})
    assert len(read_annotation(open_source(tmp_path), "a.xml").objects) == 5000


def cell_in_cell(depth: int) -> bytes:
    """A MATLAB file of version 5 whose one variable is a cell with a cell in it, and so on."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    head = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", 1, 1))
    name, no_name = element(1, b"file_list"), element(1, b"")
    parts, size = [], 0
    for level in range(depth):
        is_outermost = level == depth - 1
        size += len(head) + len(name if is_outermost else no_name)
        parts.append(struct.pack("<II", 14, size) + head + (name if is_outermost else no_name))
        size += 8
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    return header + b"".join(reversed(parts))


@pytest.mark.parametrize("is_compressed", [False, True])
def test_deep_cells_end_no_process_but_their_own(tmp_path, is_compressed):
    content = cell_in_cell(20_000)
    if is_compressed:
        packed = zlib.compress(content[128:])
        content = content[:128] + struct.pack("<II", 15, len(packed)) + packed
    files = {"train_list.mat": content, "test_list.mat": content, "Images/n1-a/1.jpg": b"", "Annotation/n1-a/1": b""}
    write_files(tmp_path, files)
    outcome = outcome_of(read_dogs, tmp_path)
    assert outcome.startswith("ValueError: train_list.mat: ")


def test_a_matlab_file_of_large_arrays(tmp_path):
    """It says that its vector takes three gigabytes, and has a tenth of it, packed."""
    packer = zlib.compressobj(1)
    size = 3_000_000_000
    head = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 1, size // 8)
    head += struct.pack("<II", 1, 9) + b"file_list" + bytes(7) + struct.pack("<II", 9, size)
    packed = packer.compress(struct.pack("<II", 14, len(head) + size) + head)
    packed += b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(300)) + packer.flush()
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    content = header + struct.pack("<II", 15, len(packed)) + packed
    files = {"train_list.mat": content, "test_list.mat": content, "Images/n1-a/1.jpg": b"", "Annotation/n1-a/1": b""}
    write_files(tmp_path, files)
    assert outcome_of(read_dogs, tmp_path).startswith("ValueError: train_list.mat: ")


def test_json_that_is_deep_or_dense(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="a.json: no valid JSON: it is nested too deeply"):
        parse_json("[" * 10**6, "a.json")
    monkeypatch.setattr(json_text, "MAX_CONTAINERS", 1000)
    assert len(parse_json(json.dumps([[1, 2]] * 999), "a.json")) == 999
    with pytest.raises(ValueError, match="a.json: more than 1000 lists and objects"):
        parse_json(json.dumps([{}] * 1000).encode(), "a.json")


def test_files_too_large_for_a_image_are_not_read(tmp_path):
    """The bitmap of all pixels that are decoded has 268 MB."""
    with open(tmp_path / "a.jpg", "wb") as file:
        file.truncate(750 * MEGABYTE)
    report, _, _ = verify_dataset(ListReader(open_source(tmp_path), [listed("a.jpg")]))
    assert "a.jpg has 750000000 bytes; files of up to 715827880 are read" in str(report)
