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
"""Processes that a launcher such as `torchrun` started."""

import logging
import os
import sys


def end_launched_process(status: int):
    """
    Ends this process, if it is one of several that a launcher started, without what C++ does at an exit: a thread that is
    left there aborts it now and then, and the launcher stops the others for that, at whatever they still write.

    Args:
        status (`int`): exit status.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


__all__ = ["end_launched_process"]
