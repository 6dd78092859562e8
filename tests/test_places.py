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
"""Names of models and data sets that are none: what can be told at once, and what the Hub says."""

import pytest

from transformers_sat.data import load_localization_dataset, load_streaming_dataset
from transformers_sat.places import NoSuchPlaceError, check_place, reading_from
from transformers_sat.safe_loading import load_model
from transformers_sat.training import start_model


@pytest.mark.parametrize(
    "name", ["./my_imges", "../data", "~/data", "/no/such", "data\\cub", "a/b/c", "bad name!", "data/"]
)
@pytest.mark.parametrize(
    "read", [load_localization_dataset, load_streaming_dataset, load_model, lambda name: start_model(name, ["a", "b"])]
)
def test_names_of_no_repository_are_not_sought(name, read, monkeypatch):
    def ask(*args, **kwargs):
        raise AssertionError("The Hub was asked.")

    monkeypatch.setattr("huggingface_hub.utils._http.http_backoff", ask)
    monkeypatch.setattr("datasets.load_dataset", ask)
    monkeypatch.setattr("datasets.load_dataset_builder", ask)
    with pytest.raises(NoSuchPlaceError, match="^There is no folder .* to read the (model|data set) from[^\n]*$"):
        read(name)


@pytest.mark.parametrize("name", ["emblems", "my_images", "org/my.images"])
def test_names_that_may_be_repositories(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_place(name, "model")
    with pytest.raises(
        NoSuchPlaceError, match=f"no folder '{name}' here, and the Hub did not give a model .*: two lines$"
    ):
        with reading_from(name, "model"):
            raise ConnectionError("two\nlines")
    (tmp_path / name).mkdir(parents=True)
    # of what is there, and of a file, the error is told as it is
    for error in (OSError("no config.json"), OSError(28, "No space left")):
        with pytest.raises(OSError) as raised, reading_from(name, "model"):
            raise error
        assert raised.value is error
