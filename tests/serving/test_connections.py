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
"""Connections: how many, and what the log says of them. What they do is tested with a server, in test_server."""

import logging
import resource

import pytest

from transformers_sat.serving import connections
from transformers_sat.serving.connections import SparingFilter, connection_limits


@pytest.mark.parametrize("free", [5, 6, 30, 100, 900, 5000, 10**6])
def test_connections_fit_the_file_descriptors(monkeypatch, free):
    """Even with three turns of the event loop between the acceptance of a connection and its end."""
    monkeypatch.setattr(connections, "free_descriptors", lambda: free)
    number, accepted = connection_limits()
    assert 1 <= number <= 1000 and 1 <= accepted <= 128
    assert number + 4 * accepted <= free
    # a third at least serves
    assert number >= min(free // 3, 1000) or free < 10


@pytest.mark.parametrize("free", [-20, 0, 4])
def test_too_few_file_descriptors(monkeypatch, free):
    monkeypatch.setattr(connections, "free_descriptors", lambda: free)
    with pytest.raises(ValueError, match="ulimit -n"):
        connection_limits()


def test_free_file_descriptors(tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (500, 500))
    before = connections.free_descriptors()
    with open(tmp_path / "a", "wb"), open(tmp_path / "b", "wb"):
        assert connections.free_descriptors() == before - 2
    assert 300 < before < 484
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert connections.free_descriptors() > 1000


def test_the_log_does_not_flood(caplog):
    """One message many times is left out, others are not; then it is said how many there were."""
    log = logging.getLogger("a log of its own")
    sparing = SparingFilter(most=3)
    log.addFilter(sparing)

    def records(number, second, message):
        for index in range(number):
            record = log.makeRecord(log.name, logging.WARNING, __file__, 1, message, (index,), None)
            record.created = second
            log.handle(record)

    with caplog.at_level(logging.WARNING, logger=log.name):
        records(1000, 60, "bad request %d")
        records(1, 61, "another message %d")
        records(2, 120, "bad request %d")
        records(1, 180, "bad request %d")
    assert caplog.messages == [
        "bad request 0",
        "bad request 1",
        "bad request 2",
        "another message 0",
        "bad request 0\n(997 messages were left out in the minutes before)",
        "bad request 1",
        "bad request 0",
    ]
