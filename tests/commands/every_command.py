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
Runs commands one after another in one process and prints how each ended, as JSON. The standard input has them:
`[[arguments, port], ...]`; a command with a port is stopped as soon as it answers there.
"""

import contextlib
import io
import json
import os
import signal
import socket
import sys
import threading
import time

from transformers_sat_command import main


def stop_when_it_answers(port: int, finished: threading.Event):
    answers = False
    while not finished.wait(0.5):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            answers = True
        if answers:
            # again and again: one that comes before the server waits for it is lost in its start
            os.kill(os.getpid(), signal.SIGINT)


def run(arguments: list[str], port: int | None) -> dict:
    finished, errors, began = threading.Event(), io.StringIO(), time.perf_counter()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if port is not None:
        threading.Thread(target=stop_when_it_answers, args=(port, finished), daemon=True).start()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = main(arguments)
    finished.set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return {
        "status": status,
        "error": errors.getvalue(),
        "seconds": time.perf_counter() - began,
        "torch": "torch" in sys.modules,
    }


if __name__ == "__main__":
    endings = [run(*command) for command in json.load(sys.stdin)]
    print(json.dumps(endings))
    # threads of servers that were stopped have nothing more to say
    sys.stdout.flush()
    os._exit(0)
