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
"""Metrics as sums of counts: what lets batches, parts and processes add up without rounding."""

import numpy as np
import torch.distributed


class CountingMetric:
    """
    Base of the metrics here. All that is kept of the images is a few arrays of integers, in `counts`.

    Subclasses give the names and shapes of their counts and the settings in which two metrics must agree to be added.
    """

    def __init__(self, **shapes: tuple[int, ...]):
        self._shapes = shapes
        self.reset()

    def reset(self):
        """Forgets all images."""
        self.counts = {name: np.zeros(shape, dtype=np.int64) for name, shape in self._shapes.items()}

    @property
    def num_images(self) -> int:
        """How many images have been counted."""
        return int(self.counts["images"])

    def settings(self) -> dict:
        """The settings under which the counts were made."""
        raise NotImplementedError

    def merge(self, other: "CountingMetric"):
        """
        Adds what another metric has counted on other images.

        Args:
            other (`CountingMetric`):
                A metric of the same class with the same settings. It is left as it is.

        Returns:
            The metric itself, so that merges can be chained.

        Raises:
            ValueError: If the settings differ; nothing is added then.
        """
        if type(self) is not type(other):
            raise ValueError(f"`other` must be a {type(self).__name__}, got a {type(other).__name__}.")
        ours, theirs = self.settings(), other.settings()
        different = [name for name in ours if ours[name] != theirs[name]]
        if different:
            listed = ", ".join(f"`{name}`: {_shorten(ours[name])} and {_shorten(theirs[name])}" for name in different)
            raise ValueError(f"Only metrics with equal settings can be merged, but these differ in {listed}.")
        # New arrays, not changed ones: a metric may be merged with itself.
        self.counts = {name: count + other.counts[name] for name, count in self.counts.items()}
        return self

    def all_reduce_(self, group: "torch.distributed.ProcessGroup | None" = None):
        """
        Replaces the counts by their sum over all processes, once each process has counted its own images.

        The images must be divided without overlap, and parts may differ in size or be empty: a sampler that repeats
        images to make the parts even would have them counted twice.

        Args:
            group (`torch.distributed.ProcessGroup`, *optional*):
                The processes to sum over, all by default.

        Returns:
            The metric itself. Without a process group there is nothing to do.

        Raises:
            ValueError: On every process, if the settings differ between processes.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            parts = [None] * torch.distributed.get_world_size(group)
            torch.distributed.all_gather_object(parts, self, group=group)
            total = parts[0]
            for part in parts[1:]:
                total.merge(part)
            vars(self).update(vars(total))
        return self


def _shorten(value, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."


__all__ = ["CountingMetric"]
