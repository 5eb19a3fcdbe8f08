"""How batches come from loader processes: through memory that is shared once, instead of new shared memory for each.

torch puts each batch into shared memory of its own. The system then fills every page of it with zeros and maps it twice, in the
process that writes and in the one that reads; on a virtual machine the first alone took 0.2 ms an image, decoding 0.3.
"""

from __future__ import annotations

import mmap
import multiprocessing
import secrets
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from lit_inpaint.data.inpainting_dataset import Sample, collate, stack
from lit_inpaint.types import Batch


class SharedMemoryCollate:
    """Collates samples to a batch of bytes, for a loader's `collate_fn`.

    In the main process, and wherever the shared memory cannot be used (a process that was not forked, samples of another size,
    all slots taken), batches are made as `collate` makes them and travel as torch sends them.

    Args:
        slots: batches that may be under way at once.
        room: bytes of the largest batch: four for each pixel, three of the image and one of the mask.
    """

    def __init__(self, slots: int, room: int) -> None:
        self.slots = slots
        self.room = room
        self.key = secrets.token_hex(8)
        # Anonymous, so not bounded by /dev/shm, which is small in containers. Pages come into being when they are first used.
        self._memory: mmap.mmap | None = mmap.mmap(-1, slots * (self.room + 1))
        self._lock: Any = multiprocessing.Lock()
        _OPEN[self.key] = self

    def __getstate__(self) -> dict[str, Any]:
        """A process that is not forked from this one does without."""
        return {**vars(self), "_memory": None, "_lock": None}

    def anew(self) -> SharedMemoryCollate:
        """The same with no slot taken, for another iteration."""
        return SharedMemoryCollate(self.slots, self.room)

    def __call__(self, samples: Sequence[Sample]) -> Batch | SharedBatch:
        """The batch, or, in a loader process, a parcel that turns into the batch in the main one."""
        images, masks = [sample["image"] for sample in samples], [sample["mask"] for sample in samples]
        count, (height, width) = len(samples), images[0].shape[1:]
        alike = all(part.dtype == torch.uint8 and part.shape[1:] == (height, width) for part in images + masks)
        if get_worker_info() is None or not alike or 4 * count * height * width > self.room:
            return collate(samples)
        slot = self._take()
        if slot is None:
            return collate(samples)
        shape = (count, height, width)
        image, mask = self._views(slot, *shape)
        stack(samples, torch.from_numpy(image), torch.from_numpy(mask))
        return SharedBatch(self.key, slot, shape, [sample["name"] for sample in samples])

    def open(self, slot: int, shape: tuple[int, int, int], names: list[str]) -> Batch:
        """The batch in `slot`, in memory of its own; the slot is free again."""
        image, mask = (torch.from_numpy(part.copy()) for part in self._views(slot, *shape))
        self._taken[slot] = 0
        return {"image": image.permute(0, 3, 1, 2), "mask": mask[:, None], "name": names}

    def _take(self) -> int | None:
        """A slot that is nobody's. Those of batches that were never asked for stay taken."""
        if self._memory is None or not self._lock.acquire(timeout=1):  # a process that was killed may have it for ever
            return None
        try:
            taken = self._taken
            slot = int(taken.argmin())
            if taken[slot]:
                return None
            taken[slot] = 1
            return slot
        finally:
            self._lock.release()

    @property
    def _taken(self) -> NDArray[np.uint8]:
        assert self._memory is not None
        return np.frombuffer(self._memory, np.uint8, self.slots, self.slots * self.room)

    def _views(self, slot: int, count: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(count, H, W, 3) and (count, H, W) of a slot."""
        assert self._memory is not None
        pixels = count * height * width
        content = np.frombuffer(self._memory, np.uint8, 4 * pixels, slot * self.room)
        return content[: 3 * pixels].reshape(count, height, width, 3), content[3 * pixels :].reshape(count, height, width)


_OPEN: WeakValueDictionary[str, SharedMemoryCollate] = WeakValueDictionary()


class SharedBatch:
    """What a loader process sends: where the batch lies. Unpickled in the main process, it is the batch."""

    def __init__(self, *content: Any) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, self.content


def _open(key: str, slot: int, shape: tuple[int, int, int], names: list[str]) -> Batch:
    return _OPEN[key].open(slot, shape, names)
