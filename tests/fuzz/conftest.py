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

"""What the fuzzers share: each says how many inputs it tried and how they ended."""

import pytest


@pytest.fixture
def report_counts(request):
    """`report_counts("JSON bodies", tried=3000, refused=2950)`: one line of the summary that ends a run."""

    def report(name: str, **counts: int) -> None:
        line = f"{name}: " + ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in counts.items())
        # The properties of a test travel with its report, from a worker of xdist to the process that prints.
        request.node.user_properties.append(("fuzz_counts", line))

    return report
