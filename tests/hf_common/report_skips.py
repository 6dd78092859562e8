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
Rewrites the table of skipped tests in `docs/hf_test_suite.md` from the report of the last `make test-hf`.
"""

import re
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from fetch_suite import CACHE


REPORT = CACHE / "report.xml"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "hf_test_suite.md"
BEGIN, END = "<!-- skipped: begin -->\n", "<!-- skipped: end -->\n"


def skipped_tests(report: Path) -> dict[str, list[str]]:
    """The names of the skipped tests under the reason each gave."""
    tests = defaultdict(set)
    for case in ElementTree.parse(report).iter("testcase"):
        skipped = case.find("skipped")
        if skipped is not None:
            tests[_general_reason(skipped.get("message"))].add(_name_without_parameters(case.get("name")))
    return {reason: sorted(names) for reason, names in sorted(tests.items())}


def _name_without_parameters(name: str) -> str:
    # parameterized appends `_<number>_<value>`; the number in `flash_attn_2` is part of the name
    return re.sub(r"(?<!flash_attn)_\d+(_\w+)?$", "", name)


def _general_reason(message: str) -> str:
    """A reason without the names of the class and test that gave it."""
    message = re.sub(r"^\w+::\w+ is skipped: ", "", message)
    message = re.sub(
        r"`[\w-]+` is not in (`self.pipeline_model_mapping`) for `\w+`", r"the task is not in \1", message
    )
    message = re.sub(r"^(SATModel|SATForWeaklySupervisedLocalization)\b( class)?", "The model", message)
    message = re.sub(r"<class '[^']*'>", "The model", message)
    return message.strip().rstrip(".")


def table(tests: dict[str, list[str]]) -> str:
    rows = ["| the suite's reason | tests |", "| --- | --- |"]
    rows += [f"| {reason} | {', '.join(f'`{name}`' for name in names)} |" for reason, names in tests.items()]
    return "\n".join(rows) + "\n"


def main():
    if not REPORT.is_file():
        raise SystemExit(f"{REPORT} does not exist: run `make test-hf` first.")
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + table(skipped_tests(REPORT)) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
