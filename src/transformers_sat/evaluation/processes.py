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
"""Dividing images among processes, without padding and without repetition."""

import torch.distributed


def process_count() -> tuple[int, int]:
    """The index of this process and the number of all, `(0, 1)` when it was started alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def share_of_process(num_images: int, batch_size: int = 1) -> list[int]:
    """
    Indices of the images that this process measures, whole batches of them: batches are the same for any number of
    processes, and with them the last digits of what a model computes. Shares may differ in size, or be empty.
    """
    rank, world_size = process_count()
    batches = range(rank * batch_size, num_images, world_size * batch_size)
    return [index for first in batches for index in range(first, min(first + batch_size, num_images))]


__all__ = ["process_count", "share_of_process"]
