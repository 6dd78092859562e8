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
"""Folders and archives of all forms look alike, are not unpacked, and cannot do harm."""

import gzip
import io
import multiprocessing
import pickle
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
from prepare_fixtures import tar_bytes, write_files, zip_bytes

from transformers_sat.prepare import archives, open_source


FILES = {
    "lists/images.txt": b"1 a/one.jpg\n2 b/two words.jpg",
    "images/a/one.jpg": b"one" * 1000,
    "images/b/two words.jpg": b"two" * 2000,
    "images/b/größe.JPG": b"",
}


def write_source(folder: Path, form: str) -> Path:
    if form == "folder":
        return write_files(folder / "set", FILES)
    content = {
        "tar": lambda: tar_bytes(FILES),
        "tar.gz": lambda: tar_bytes(FILES, "w:gz"),
        "tgz": lambda: tar_bytes(FILES, "w:gz"),
        "zip": lambda: zip_bytes(FILES),
    }[form]()
    path = folder / f"set.{form}"
    path.write_bytes(content)
    return path


FORMS = ["folder", "tar", "tar.gz", "tgz", "zip"]


@pytest.mark.parametrize("form", FORMS)
def test_forms_look_alike(tmp_path, form):
    source = open_source(write_source(tmp_path, form))
    assert list(source.paths()) == sorted(FILES)
    assert len(source) == 4
    for path, content in FILES.items():
        assert path in source
        assert source.size(path) == len(content)
        assert source.read(path) == content
    assert "images" not in source
    assert source.folder("images/b") == source.folder("images/b/") == sorted(FILES)[1:3]
    assert source.folder("") == sorted(FILES)
    assert source.folder("imag") == []
    with pytest.raises(ValueError, match="has no file lists/other.txt"):
        source.read("lists/other.txt")


@pytest.mark.parametrize("form", FORMS)
def test_archives_in_a_folder_are_folders(tmp_path, form):
    """What is downloaded can lie in a folder just as it is, archives in archives too."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    inner = {
        "n01.tar": tar_bytes({"n01_1.JPEG": b"1", "n01_2.JPEG": b"22"}),
        "n02.tar": tar_bytes({"n02_1.JPEG": b"333"}),
    }
    (folder / "train.tar").write_bytes(tar_bytes(inner))
    (folder / "more.zip").write_bytes(zip_bytes({"in/deep.tgz": tar_bytes({"x.txt": b"x"}, "w:gz")}))
    write_source(folder, form)
    source = open_source(folder)
    assert [source.read(path) for path in source.folder("train")] == [b"1", b"22", b"333"]
    assert source.folder("train") == ["train/n01/n01_1.JPEG", "train/n01/n01_2.JPEG", "train/n02/n02_1.JPEG"]
    assert source.read("more/in/deep/x.txt") == b"x"
    assert source.folder("set") == [f"set/{path}" for path in sorted(FILES)]
    assert {path.name for path in folder.rglob("*")} >= {"train.tar", "more.zip"}
    assert not (folder / "train").exists()


def test_an_unpacked_archive_is_not_read_twice(tmp_path):
    write_files(tmp_path, {"CUB/images.txt": b"1 a", "CUB.tgz": tar_bytes({"CUB/images.txt": b"1 a"}, "w:gz")})
    assert list(open_source(tmp_path).paths()) == ["CUB/images.txt"]


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_reading_by_position_goes_forward(tmp_path, form):
    names = [f"{number}.bin" for number in random.Random(0).sample(range(1000), 100)]
    content = {name: name.encode() for name in names}
    packed = zip_bytes(content) if form == "zip" else tar_bytes(content, "w:gz" if form == "tar.gz" else "w")
    path = tmp_path / f"set.{form}"
    path.write_bytes(packed)
    source = open_source(path)
    assert sorted(source.paths(), key=source.position) == names


def test_processes_go_on_with_the_source_of_their_parent(tmp_path):
    """Each reads from its own places, though the open files are shared."""
    contents, source = write_random_archives(tmp_path)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=check_share, args=(source, contents, share)) for share in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_a_pickled_source_opens_itself_anew(tmp_path):
    contents, source = write_random_archives(tmp_path)
    copy = pickle.loads(pickle.dumps(source))
    assert list(copy.paths()) == sorted(contents)
    check_share(copy, contents, 0)


def write_random_archives(folder: Path) -> tuple[dict[str, bytes], archives.Source]:
    generator = random.Random(0)
    contents = {f"{number}.bin": generator.randbytes(20_000) for number in range(300)}
    (folder / "a.tar.gz").write_bytes(tar_bytes(contents, "w:gz"))
    (folder / "b.zip").write_bytes(zip_bytes(contents))
    (folder / "c.tar").write_bytes(tar_bytes(contents))
    return {f"{stem}/{name}": content for stem in "abc" for name, content in contents.items()}, open_source(folder)


def check_share(source: archives.Source, contents: dict[str, bytes], share: int):
    for path in source.paths()[share::3]:
        assert source.read(path) == contents[path]


# Lists.


@pytest.mark.parametrize("form", FORMS)
def test_lines(tmp_path, form):
    source = open_source(write_source(tmp_path, form))
    assert list(source.lines("lists/images.txt")) == [
        ("lists/images.txt, line 1", "1 a/one.jpg"),
        ("lists/images.txt, line 2", "2 b/two words.jpg"),
    ]


def test_lines_of_other_systems(tmp_path):
    write_files(
        tmp_path, {"list.txt": "\ufeffGröße\r\n\r\n  \nlast, with space \n".encode(), "binary.txt": b"ok\n\xff\xfe"}
    )
    source = open_source(tmp_path)
    assert list(source.lines("list.txt")) == [("list.txt, line 1", "Größe"), ("list.txt, line 4", "last, with space ")]
    with pytest.raises(ValueError, match="binary.txt is not UTF-8"):
        list(source.lines("binary.txt"))


def test_find_root(tmp_path):
    deep = {f"around/CUB/{name}": b"" for name in ("images.txt", "classes.txt", "images/a/b.jpg")}
    source = open_source(write_files(tmp_path, deep))
    assert source.find_root("images.txt", "classes.txt", "images") == "around/CUB/"
    assert source.find_root("images/a/b.jpg") == "around/CUB/"
    assert source.find_root("around") == ""
    with pytest.raises(ValueError, match="no segmentations at any depth"):
        source.find_root("segmentations")
    with pytest.raises(ValueError, match="has around/CUB/images.txt, but not around/CUB/boxes.txt"):
        source.find_root("images.txt", "classes.txt", "boxes.txt")
    write_files(tmp_path, {"again/images.txt": b""})
    assert open_source(tmp_path).find_root("images.txt", "classes.txt") == "around/CUB/"
    with pytest.raises(ValueError, match="in 2 places: again/, around/CUB/"):
        open_source(tmp_path).find_root("images.txt")


# What is wrong or hostile.


def test_members_that_lead_out_are_left_out(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "good.txt", "./also/good.txt"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"text"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"special{kind.decode()}")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    (tmp_path / "b.zip").write_bytes(
        zip_bytes({"../evil.txt": b"", "/evil.txt": b"", link: b"/etc/passwd", "good.txt": b"x"})
    )
    assert list(open_source(tmp_path).paths()) == ["a/also/good.txt", "a/good.txt", "b/good.txt"]


def test_links_in_a_folder(tmp_path):
    """Links to files and folders are followed, at any depth; loops end, and broken ones are left out."""
    write_files(tmp_path / "elsewhere", {"set/a.jpg": b"a", "set/deep/d.jpg": b"d", "one.jpg": b"1"})
    source = write_files(tmp_path / "source", {"b/b.jpg": b"b"})
    (source / "set").symlink_to(tmp_path / "elsewhere" / "set")
    (source / "b" / "c.jpg").symlink_to(tmp_path / "elsewhere" / "one.jpg")
    (source / "b" / "again.jpg").symlink_to("b.jpg")
    (source / "b" / "around").symlink_to(source)
    (source / "b" / "above").symlink_to(tmp_path)
    (tmp_path / "elsewhere" / "set" / "deep" / "loop").symlink_to(tmp_path / "elsewhere" / "set")
    (source / "zz").symlink_to(tmp_path / "elsewhere" / "set")
    (source / "broken").symlink_to(tmp_path / "nowhere")
    (source / "self").symlink_to("self")
    opened = open_source(source)
    assert list(opened.paths()) == ["b/again.jpg", "b/b.jpg", "b/c.jpg", "set/a.jpg", "set/deep/d.jpg"]
    assert opened.read("b/c.jpg") == b"1" and opened.read("set/deep/d.jpg") == b"d"
    assert opened.real_path("b/again.jpg") == opened.real_path("b/b.jpg") == "b/b.jpg"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with its mark", "utf-16-be with its mark"]
)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_lists_in_the_encodings_of_windows(tmp_path, form, encoding):
    name, marked, _ = encoding.partition(" with")
    content = (("\ufeff" if marked else "") + "größe,1\r\n猫,2\r\n").encode(name)
    if form == "zip":
        (tmp_path / "set.zip").write_bytes(zip_bytes({"list.txt": content}))
    else:
        write_files(tmp_path / "set", {"list.txt": content})
    source = open_source(tmp_path / ("set.zip" if form == "zip" else "set"))
    assert [text for _, text in source.lines("list.txt")] == ["größe,1", "猫,2"]


@pytest.mark.parametrize("only_links", [False, True])
def test_a_source_without_files(tmp_path, only_links):
    if only_links:
        (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
        (tmp_path / "round").symlink_to(tmp_path)
    source = open_source(tmp_path)
    assert len(source) == 0 and list(source.paths()) == source.folder("") == [] and "a" not in source
    with pytest.raises(ValueError, match="has no marker.txt"):
        source.find_root("marker.txt")


def test_names_in_a_zip_as_other_systems_write_them(tmp_path, caplog):
    names = {
        "sub\\windows.jpg": "sub/windows.jpg",
        "größe.jpg": "größe.jpg",
        "\u00ac\u00f4.jpg": "\u00ac\u00f4.jpg",
        "..\\..\\evil.jpg": None,
    }
    content = {name: name.encode() for name in names}
    (tmp_path / "set.zip").write_bytes(zip_bytes(content))
    assert list(open_source(tmp_path / "set.zip").paths()) == sorted(filter(None, names.values()))
    assert "code page" not in caplog.text

    # the same bytes without the flag that says that they are UTF-8; and in the code page of Cyrillic DOS
    for name, read in (("größe.jpg", "größe.jpg"), ("лес.jpg", "лес.jpg".encode("cp866").decode("cp437"))):
        stored = name.encode("cp866" if name[0] == "л" else "utf-8")
        packed = zip_bytes({"x" * len(stored): b"content"}).replace(b"x" * len(stored), stored)
        (tmp_path / "set.zip").write_bytes(packed)
        source = open_source(tmp_path / "set.zip")
        assert list(source.paths()) == [read] and source.read(read) == b"content"
    assert "set.zip does not say in which code page 1 of its names are" in caplog.text


def test_what_systems_leave_behind_is_left_out(tmp_path):
    write_files(tmp_path, {"a/1.jpg": b"", "a/._1.jpg": b"", "a/.DS_Store": b"", "__MACOSX/a/1.jpg": b""})
    write_files(tmp_path, {"a/Thumbs.db": b"", "a/Desktop.ini": b"", "a/desktop.ini": b""})
    (tmp_path / "b.zip").write_bytes(zip_bytes({"__MACOSX/._x": b"", "x": b""}))
    assert list(open_source(tmp_path).paths()) == ["a/1.jpg", "b/x"]


def damaged_archives() -> dict[str, bytes]:
    content = {f"{number}.bin": random.Random(number).randbytes(3000) for number in range(20)}
    tar, tgz, packed = tar_bytes(content), tar_bytes(content, "w:gz"), zip_bytes(content)
    return {
        "empty.tar": b"",
        "cut in a header.tar": tar[: 10 * 512 + 100],
        "cut in a member.tar": tar[:30_000],
        "cut at a member.tar": tar[: 10 * (512 + 3072)],
        "cut.tgz": tgz[: len(tgz) // 2],
        "other.tar.gz": tgz[:500] + b"damage" * 50 + tgz[800:],
        "not at all.tgz": b"<html>404</html>" * 100,
        "cut.zip": packed[: len(packed) // 2],
    }


@pytest.mark.parametrize("name", list(damaged_archives()))
def test_damaged_archives_are_named(tmp_path, name):
    """None is taken for a shorter one, as some of the libraries do."""
    (tmp_path / name).write_bytes(damaged_archives()[name])
    with pytest.raises(ValueError, match=f"{name} cannot be read .*get it again"):
        open_source(tmp_path / name)


def test_damage_found_on_reading(tmp_path):
    packed = bytearray(zip_bytes({"a.bin": b"a" * 100, "b.bin": b"b" * 100}, zipfile.ZIP_STORED))
    packed[packed.index(b"a" * 100)] = 0
    (tmp_path / "set.zip").write_bytes(packed)
    source = open_source(tmp_path / "set.zip")
    assert source.read("b.bin") == b"b" * 100
    with pytest.raises(ValueError, match="a.bin in .*set.zip cannot be read") as raised:
        source.read("a.bin")
    assert isinstance(raised.value.__cause__, zipfile.BadZipFile)


def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE_EXPANSION_BYTES", 2**20)
    zeros = bytes(20 * 2**20)
    (tmp_path / "bomb.zip").write_bytes(zip_bytes({"zeros": zeros}))
    with pytest.raises(ValueError, match="bomb.zip unpacks to 20971520 bytes"):
        open_source(tmp_path / "bomb.zip")
    (tmp_path / "bomb.tgz").write_bytes(gzip.compress(tar_bytes({"zeros": zeros})))
    with pytest.raises(ValueError, match="bomb.tgz unpacks to more than"):
        open_source(tmp_path / "bomb.tgz")


def test_limits(tmp_path, monkeypatch):
    path = write_source(tmp_path, "tar")
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 4000)
    with pytest.raises(ValueError, match="two words.jpg has 6000 bytes; files of up to 4000"):
        open_source(path).read("images/b/two words.jpg")
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    with pytest.raises(ValueError, match="more than 3 files"):
        open_source(path)


def test_archives_are_opened_to_a_depth(tmp_path):
    content = b"text"
    for depth in range(5):
        content = tar_bytes({f"{depth}.tar" if depth else "file.txt": content})
    (tmp_path / "5.tar").write_bytes(content)
    assert list(open_source(tmp_path).paths()) == ["5/4/3/2.tar"]


def test_encrypted_zip(tmp_path):
    packed = bytearray(zip_bytes({"a.txt": b"text"}))
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "set.zip").write_bytes(packed)
    with pytest.raises(ValueError, match="a.txt in .*set.zip is encrypted"):
        open_source(tmp_path / "set.zip")


def test_of_two_members_with_one_name_the_last_counts(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for content in (b"old", b"newer"):
            member = tarfile.TarInfo("a.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (tmp_path / "set.tar").write_bytes(file.getvalue())
    source = open_source(tmp_path / "set.tar")
    assert list(source.paths()) == ["a.txt"]
    assert source.read("a.txt") == b"newer"


def test_other_things_are_no_source(tmp_path):
    with pytest.raises(ValueError, match="nothing does not exist; give the folder or archive"):
        open_source(tmp_path / "nothing")
    write_files(tmp_path, {"set.rar": b""})
    with pytest.raises(ValueError, match=r"set.rar is not a form that can be read: .*\.tar\.gz"):
        open_source(tmp_path / "set.rar")


def test_the_fingerprint_tells_sources_apart(tmp_path):
    first = open_source(write_files(tmp_path / "a", {"1.jpg": b"1"}))
    assert open_source(tmp_path / "a").fingerprint == first.fingerprint
    write_files(tmp_path / "a", {"2.jpg": b"2"})
    assert open_source(tmp_path / "a").fingerprint != first.fingerprint
