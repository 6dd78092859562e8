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
"""Training data streamed from a Hub, with the real clients."""

from pathlib import Path

from hub_client import run_client


TESTS = Path(__file__).parents[1]


def push_squares_client(tests):
    import sys

    sys.path.insert(0, tests)
    import datasets
    from square_images import square_split

    splits = {"train": square_split(40), "validation": square_split(6, first=100), "test": square_split(5, first=200)}
    datasets.DatasetDict(splits).push_to_hub("owner/squares", num_shards={"train": 2, "validation": 1, "test": 1})
    return len(splits["train"])


def stream_squares_client():
    import hashlib

    import datasets

    from transformers_sat import SATImageProcessor
    from transformers_sat.data import StreamedLocalizationDataset, TrainingAugmentation, load_streaming_dataset

    datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0
    rows, others, num_rows = load_streaming_dataset("owner/squares")
    stream = StreamedLocalizationDataset(rows, SATImageProcessor(), TrainingAugmentation(224), num_rows)
    streamed = list(stream.sampler())
    return {
        "length": len(stream),
        "images": len({hashlib.sha256(row.row["image"]["bytes"]).hexdigest() for row in streamed}),
        "shape": list(stream[streamed[0]]["pixel_values"].shape),
        "others": {name: len(split) for name, split in others.items()},
    }


def test_streaming_from_the_hub(local_hub, tmp_path):
    """Its card tells the length; the training files are never in the cache, the other splits are."""
    run_client(local_hub.endpoint, tmp_path / "pushing", push_squares_client, str(TESTS))
    home = tmp_path / "streaming"
    found, _ = run_client(local_hub.endpoint, home, stream_squares_client, with_package=True)
    assert (found["length"], found["images"], found["shape"]) == (40, 40, [3, 224, 224])
    assert found["others"] == {"validation": 6, "test": 5}
    assert not [path for path in home.rglob("*train*") if path.is_file() and path.suffix in (".parquet", ".arrow")]
    assert len(list(home.rglob("*.arrow"))) == 2
