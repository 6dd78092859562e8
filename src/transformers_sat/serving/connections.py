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
"""Connections: bounded in number, and in the time in which nothing comes or goes."""

import asyncio
import json
import logging
import os
import time
from collections import Counter

from uvicorn.protocols.http.h11_impl import H11Protocol


# For the head of a request, from the connection's begin or from the answer before.
HEAD_S = 10
# One read of a connection; a body in chunks of a byte takes a long time to parse, and other connections wait for it.
READ_BYTES = 16_384
# Of the file descriptors, so many stay free for files, sockets and pipes of the process itself.
SPARE_DESCRIPTORS = 16
MAX_CONNECTIONS = 1000

_ERROR = json.dumps({"error": "Too many connections at a time; try again later."}).encode()
TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_ERROR), _ERROR)
)


class BoundedConnection(H11Protocol, asyncio.BufferedProtocol):
    """
    HTTP/1.1 as uvicorn speaks it. Uvicorn closes connections that are silent after an answer; this one also closes those
    that never send a whole head, and those whose client does not take the answer. Where there are too many, the one that
    has been silent for longest makes room.

    Args:
        max_connections (`int`): most connections.
        answer_s (`float`): how long a request may take until its answer is sent, in seconds.
    """

    def __init__(self, *args, max_connections: int, answer_s: float, **kwargs):
        super().__init__(*args, **kwargs)
        self.max_connections = max_connections
        self.answer_s = answer_s
        self.silent_since = time.monotonic()
        self._deadline: asyncio.TimerHandle | None = None
        self._buffer = bytearray(READ_BYTES)

    @property
    def silent(self) -> bool:
        """Whether there is no request in work."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport):
        super().connection_made(transport)
        self._set_deadline()
        others = [other for other in self.connections if other is not self and not other.transport.is_closing()]
        if len(others) < self.max_connections:
            return
        silent = [other for other in others if other.silent]
        if silent:
            min(silent, key=lambda other: other.silent_since).transport.abort()
        else:
            transport.write(TOO_MANY)
            transport.close()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int):
        before = self.cycle
        self.data_received(bytes(self._buffer[:nbytes]))
        if self.cycle is not before:
            self._set_deadline()

    def on_response_complete(self):
        self.silent_since = time.monotonic()
        super().on_response_complete()
        self._set_deadline()

    def connection_lost(self, exc: Exception | None):
        self._deadline.cancel()
        super().connection_lost(exc)

    def _set_deadline(self):
        if self._deadline is not None:
            self._deadline.cancel()
        # not set again by bytes that come: a client may send one at a time
        seconds = HEAD_S if self.silent else self.answer_s + HEAD_S
        self._deadline = self.loop.call_later(seconds, self._on_deadline, self.transport.get_write_buffer_size())

    def _on_deadline(self, unsent_before: int):
        if 0 < self.transport.get_write_buffer_size() < unsent_before:  # a slow client, and a large answer
            self._set_deadline()
        else:
            self.transport.abort()


def connection_limits() -> tuple[int, int]:
    """
    How many connections may be open, and how many accepted at a time, so that file descriptors are never lacking: without
    one, asyncio (before Python 3.12) tries and logs without end.

    Raises:
        `ValueError`: if there are too few file descriptors for a connection.
    """
    free = free_descriptors()
    accepted = max(1, min(free // 8, 128))
    # those that are turned away are accepted first, and closed some turns of the event loop later
    connections = min(free - 4 * accepted, MAX_CONNECTIONS)
    if connections < 1:
        raise ValueError(
            "The limit of open files leaves no file descriptor for a connection; raise it, such as by `ulimit -n 1024`."
        )
    return connections, accepted


def free_descriptors() -> int:
    """How many file descriptors this process may still open, less a few."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which has no such limit
        return 8 * MAX_CONNECTIONS
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return 8 * MAX_CONNECTIONS
    return limit - len(os.listdir("/dev/fd")) - SPARE_DESCRIPTORS


class SparingFilter(logging.Filter):
    """
    Keeps a log short, whatever clients send: a message passes so many times a minute, with whatever values; then one says
    how many were left out.

    Args:
        most (`int`, *optional*, defaults to 20): how many times.
    """

    def __init__(self, most: int = 20):
        super().__init__()
        self.most = most
        self.minute = 0
        self.seen: Counter = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        minute = int(record.created // 60)
        if minute != self.minute:
            left_out = sum(number - self.most for number in self.seen.values() if number > self.most)
            self.minute, self.seen = minute, Counter()
            if left_out:
                record.msg = f"{record.msg}\n({left_out} messages were left out in the minutes before)"
        message = str(record.msg)[:40]
        self.seen[message] += 1
        return self.seen[message] <= self.most


__all__ = ["BoundedConnection", "SparingFilter", "connection_limits"]
