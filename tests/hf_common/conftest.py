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

"""Settings that Hugging Face's common tests read while they are imported."""

import os
import tempfile
from pathlib import Path

from tiny_models import write_tiny_models


_tiny_models = tempfile.TemporaryDirectory(prefix="tiny-sat-")
write_tiny_models(Path(_tiny_models.name))
os.environ["TRANSFORMERS_TINY_MODEL_PATH"] = _tiny_models.name


def pytest_configure(config):
    # the common tests carry marks of their own (`flash_attn_test`, `torch_compile_test`, ...)
    config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnknownMarkWarning")
