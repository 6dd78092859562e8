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
Where `transformers-sat` starts.

This module lies beside the package because whatever lies in it imports the package first, and that registers SAT with
Transformers, which loads PyTorch: five seconds for `--help`. `transformers_sat/__init__.py` sees this module loaded and
leaves the registration to the commands, each of which registers when it runs.
"""

from transformers_sat.cli import main


__all__ = ["main"]
