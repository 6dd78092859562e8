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
`transformers-sat prepare ilsvrc` on a source of ILSVRC's shape: how fast it is, what memory it takes, and whether a run that
is killed and started again gives the same files.

    python benchmarks/prepare_speed.py

The source is made in a temporary folder: small images, in a tar file of a tar file for each of 1000 classes, validation
images, XML files of boxes for all of these and every fifth training image, and the development kit. No two images
are the same. Memory is what the processes of the command hold in all, pages that they share counted once, beside the
libraries' code. Needs Linux.
"""

import argparse
import hashlib
import io
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import psutil
import scipy.io
from records import add_options, measured, open_results, to_measure, write


NUM_CLASSES = 1000
# One of so many images is a validation image, one of so many training images has boxes.
VALIDATION_SHARE, BOXES_SHARE = 20, 5
NUM_ENCODED = 300
IMAGE_SIZE = (64, 48)
MAX_SHARD_SIZE = "5MB"

KILLED = "killed and started again"
SECONDS_BETWEEN_SAMPLES = 0.1


def encode_images(seed: int) -> list[bytes]:
    """JPEG files of coarse noise."""
    random = np.random.default_rng(seed)
    files = []
    for _ in range(NUM_ENCODED):
        coarse = PIL.Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize(IMAGE_SIZE, PIL.Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def with_comment(jpeg: bytes, number: int) -> bytes:
    """The same image, other bytes: a comment follows the two bytes that every JPEG starts with."""
    comment = f"{number:010d}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def voc_xml(number: int) -> bytes:
    x, y = number % 20, number % 15
    width, height = IMAGE_SIZE
    corners = f"<xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + 40}</xmax><ymax>{y + 30}</ymax>"
    return (
        f"<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        f"<object><name>thing</name><bndbox>{corners}</bndbox></object></annotation>"
    ).encode()


def add(archive: tarfile.TarFile, name: str, content: bytes):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def make_source(folder: Path, num_images: int, seed: int = 0):
    """Writes the archives by year."""
    folder.mkdir()
    jpegs = encode_images(seed)
    num_validation = num_images // VALIDATION_SHARE
    num_train = num_images - num_validation
    synsets = [f"n{10_000_000 + number}" for number in range(NUM_CLASSES)]
    members = np.array_split(np.arange(num_train), NUM_CLASSES)
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as train:
        for synset, numbers in zip(synsets, members, strict=True):
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode="w") as archive:
                for number in numbers.tolist():
                    add(archive, f"{synset}_{number}.JPEG", with_comment(jpegs[number % NUM_ENCODED], number))
            add(train, f"{synset}.tar", file.getvalue())
    with tarfile.open(folder / "ILSVRC2012_bbox_train_v2.tar.gz", "w:gz", compresslevel=1) as archive:
        for synset, numbers in zip(synsets, members, strict=True):
            for number in numbers[::BOXES_SHARE].tolist():
                add(archive, f"{synset}/{synset}_{number}.xml", voc_xml(number))
    names = [f"ILSVRC2012_val_{number:08d}" for number in range(1, num_validation + 1)]
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as archive:
        for number, name in enumerate(names):
            add(archive, f"{name}.JPEG", with_comment(jpegs[number % NUM_ENCODED], num_train + number))
    with tarfile.open(folder / "ILSVRC2012_bbox_val_v3.tgz", "w:gz", compresslevel=1) as archive:
        for number, name in enumerate(names):
            add(archive, f"val/{name}.xml", voc_xml(number))
    fields = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "num_children")]
    table = np.array([(n, synset, f"class {n}", 0) for n, synset in enumerate(synsets, start=1)], dtype=fields)
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": table[:, None]})
    truth = "".join(f"{number % NUM_CLASSES + 1}\n" for number in range(num_validation))
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        add(archive, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        add(archive, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth.encode())


def start(source: Path, output: Path, num_proc: int) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "transformers_sat.cli",
        "prepare",
        "ilsvrc",
        "--source",
        source,
        "--output",
        output,
    ]
    options = ["--num_proc", str(num_proc), "--max_shard_size", MAX_SHARD_SIZE]
    return subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def processes_of(process: subprocess.Popen) -> Iterator[psutil.Process]:
    try:
        root = psutil.Process(process.pid)
        yield root
        yield from root.children(recursive=True)
    except psutil.NoSuchProcess:
        return


def memory_of(process: subprocess.Popen) -> int:
    """
    Bytes that a process and its children made themselves; a page shared by several counts as a part of each. Pages of
    files, such as the libraries' code, are left out: whether they count depends on what else runs on the machine.
    """
    total = 0
    for part in processes_of(process):
        try:
            lines = Path(f"/proc/{part.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            # it has just ended
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))
    return total


def children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def watch(process: subprocess.Popen) -> dict[str, float]:
    """Waits for a process: its time, that of the processors, and the most memory it had."""
    started, cpu_before, samples = time.perf_counter(), children_cpu_seconds(), []

    def sample():
        while process.poll() is None:
            samples.append(memory_of(process))
            time.sleep(SECONDS_BETWEEN_SAMPLES)

    sampler = threading.Thread(target=sample)
    sampler.start()
    _, errors = process.communicate()
    seconds = time.perf_counter() - started
    sampler.join()
    if process.returncode:
        raise RuntimeError(errors.decode()[-2000:])
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(children_cpu_seconds() - cpu_before, 1),
        "peak_memory_mb": round(max(samples) / 1e6),
    }


def start_up() -> dict[str, float]:
    """What the command costs before it does anything: the import of its modules."""
    return watch(
        subprocess.Popen(
            [sys.executable, "-c", "import time, transformers_sat.prepare; time.sleep(0.5)"],
            stderr=subprocess.PIPE,
        )
    )


def run(source: Path, output: Path, num_images: int, num_proc: int, idle: dict[str, float]) -> dict[str, float]:
    result = watch(start(source, output, num_proc))
    return result | {
        "images": num_images,
        "num_proc": num_proc,
        "images_per_second": round(num_images / result["seconds"]),
        "images_per_cpu_second": round(num_images / (result["cpu_seconds"] - idle["cpu_seconds"])),
        "peak_memory_beyond_start_up_mb": round(result["peak_memory_mb"] - idle["peak_memory_mb"]),
    }


def run_killed(source: Path, output: Path, num_shards: int, num_proc: int) -> dict:
    """Kills a run, as `kill -9` does, when half of the files are there; then starts it again."""
    process = start(source, output, num_proc)
    while process.poll() is None and len(list(output.glob("data/*.parquet"))) < num_shards // 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = len(list(output.glob("data/*.parquet")))
    resumed = watch(start(source, output, num_proc))
    return {"files_at_kill": kept, "files": num_shards, "seconds_after": resumed["seconds"]}


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, the state of the preparation included."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, nargs="+", default=[10_000, 100_000], help="sizes of the source")
    parser.add_argument("--num_proc", type=int, nargs="+", default=[1, 2], help="numbers of processes")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    add_options(parser, "prepare_speed.json")
    args = parser.parse_args()
    if min(args.num_images) < NUM_CLASSES * 2:
        parser.error(f"--num_images must be at least {NUM_CLASSES * 2}: two for each class")
    record = open_results(args.output, args.again)
    names = [*(row_name(size, number) for size in args.num_images for number in args.num_proc), KILLED]
    # the runs share their sources, and the last row is compared with them
    if to_measure(names, record["results"], args.again):
        with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
            rows = measure(Path(temporary), args.num_images, args.num_proc)
        origin = measured(("numpy", "pillow", "pyarrow"), image_size=IMAGE_SIZE, max_shard_size=MAX_SHARD_SIZE)
        record["results"] |= {name: row | {"measured": origin} for name, row in rows.items()}
        write(args.output, record, record["results"].values())
        print(f"Written to {args.output}")


def row_name(num_images: int, num_proc: int) -> str:
    return f"{num_images} images, {num_proc} process{'es' if num_proc > 1 else ''}"


def measure(folder: Path, sizes: list[int], processes: list[int]) -> dict[str, dict]:
    """The rows: start-up, a run of each size by each number of processes, and one that is killed."""
    idle = start_up()
    rows, source = {"start-up": idle}, folder / "source"
    print(f"start-up: {idle['seconds']} s, {idle['peak_memory_mb']} MB")
    for num_images in sizes:
        shutil.rmtree(source, ignore_errors=True)
        make_source(source, num_images)
        source_bytes = sum(path.stat().st_size for path in source.iterdir())
        for num_proc in processes:
            output = folder / f"{num_images}-{num_proc}" / "out"
            result = run(source, output, num_images, num_proc, idle)
            rows[row_name(num_images, num_proc)] = result | {"source_mb": round(source_bytes / 1e6)}
            print(result)
    undisturbed = digests(folder / f"{sizes[-1]}-{processes[0]}" / "out")
    num_shards = sum(name.endswith(".parquet") for name in undisturbed)
    killed = run_killed(source, folder / "killed" / "out", num_shards, processes[-1])
    killed["same_bytes_as_undisturbed"] = digests(folder / "killed" / "out") == undisturbed
    killed["same_bytes_for_all_num_proc"] = all(
        digests(folder / f"{sizes[-1]}-{num_proc}" / "out") == undisturbed for num_proc in processes
    )
    print(killed)
    return rows | {KILLED: killed}


if __name__ == "__main__":
    main()
