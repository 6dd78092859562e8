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
"""Values of other people's files: errors name the place, the field and the value."""

import json

import pytest

from transformers_sat.fields import as_number, checked, checked_name, field, shown


WHERE = "metadata.jsonl, line 7"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, int, 3),
        (640.0, int, 640),
        ("640", int, 640),
        (-2, float, -2.0),
        ("1.5", float, 1.5),
        ("größe", str, "größe"),
        ([1], list, [1]),
        ({}, dict, {}),
        (False, object, False),
    ],
)
def test_values_of_a_type(value, kind, expected):
    found = field({"width": value}, "width", kind, WHERE)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *(
            (value, int)
            for value in (True, 1.5, float("nan"), float("inf"), "wide", "1.5", "9" * 5000, 2**60, [1], {})
        ),
        *((value, float) for value in (True, "x", 10**400, [1.0], {})),
        *((value, str) for value in (1, [], {}, "\ud800", True)),
        *((value, list) for value in ({}, "x", 1)),
        *((value, dict) for value in ([], "x", 1)),
    ],
)
def test_values_of_another_type(value, kind):
    with pytest.raises(ValueError, match=f"^{WHERE}: `width` must be .*, got ") as raised:
        field({"width": value}, "width", kind, WHERE)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 300


def test_missing_fields():
    for record in ({}, {"width": None}):
        with pytest.raises(ValueError, match="line 7: there is no field `width`"):
            field(record, "width", int, WHERE)
        assert field(record, "width", int, WHERE, optional=True) is None
    for record in ([], "width", 5, None):
        with pytest.raises(ValueError, match="line 7: expected an object with a field `width`, got "):
            field(record, "width", int, WHERE)


def test_names_are_text_or_numbers():
    assert [checked_name(value, "label", WHERE) for value in ("a b", 7, 1.5, True)] == ["a b", "7", "1.5", "True"]
    for value in ([], {}, None, "\udfff"):
        with pytest.raises(ValueError, match="`label` must be text"):
            checked_name(value, "label", WHERE)


def test_numbers_in_lists():
    assert as_number("12", WHERE, "class") == 12
    with pytest.raises(ValueError, match=r"line 7: '1\.5' is not a number without a fraction \(`class`\)"):
        as_number("1.5", WHERE, "class")


def test_values_are_shown_short_and_on_one_line():
    deep = json.loads("[" * 200 + "]" * 200)
    for value in ("x\n\x1b[2J\u202e" * 1000, deep, [10**400] * 50, {"a" * 9999: deep}):
        assert len(shown(value)) < 500 and shown(value).isprintable()
    assert checked("x", "label", str, WHERE) == "x"
