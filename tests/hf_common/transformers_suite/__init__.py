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
Hugging Face's common test modules as one importable package.

The distributed `tests` folder is a flat part of a larger package: its modules import siblings that are not distributed
(`.exporters`, `.generation`, `.utils`). So this package spans two folders: the fetched one, and this one, which has
stand-ins for those siblings. Its own name leaves `tests` to this project.
"""

from fetch_suite import suite_folder


if not suite_folder().is_dir():
    raise ImportError(f"{suite_folder()} does not exist yet: run `python tests/hf_common/fetch_suite.py` first.")

__path__.append(str(suite_folder() / "tests"))
