"""Collate batches into preallocated shared memory, to send them from loader processes to the main process.

torch allocates new shared memory for each batch. The kernel then zeroes every page and maps it in both processes. On a virtual
machine zeroing alone took 0.2 ms per image, decoding 0.3 ms.
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

from lit_inpaint.data.inpainting_dataset import Sample, collate, stack_into
from lit_inpaint.types import Batch


class SharedMemoryCollate:
    """`collate_fn` of a `DataLoader` that writes uint8 batches into slots of shared memory.

    Without a usable slot, a batch is collated by `collate` and sent by torch: in the main process, in a process that was not
    forked, for samples of another size, and when all slots are in use.

    Args:
        num_slots: maximum number of batches on their way at once.
        slot_bytes: size of the largest batch: 4 bytes per pixel, three of the image and one of the mask.
    """

    def __init__(self, num_slots: int, slot_bytes: int) -> None:
        self.num_slots = num_slots
        self.slot_bytes = slot_bytes
        self.key = secrets.token_hex(8)
        # Anonymous memory is not limited by /dev/shm, which is small in containers. Pages are allocated when first used.
        self._memory: mmap.mmap | None = mmap.mmap(-1, num_slots * (self.slot_bytes + 1))
        self._lock: Any = multiprocessing.Lock()
        _INSTANCES[self.key] = self

    def __getstate__(self) -> dict[str, Any]:
        """Leave out memory and lock, which a process that is not forked from this one cannot use."""
        return {**vars(self), "_memory": None, "_lock": None}

    def with_free_slots(self) -> SharedMemoryCollate:
        """Create a collate function of the same size with all slots free, for another iteration of the loader."""
        return SharedMemoryCollate(self.num_slots, self.slot_bytes)

    def __call__(self, samples: Sequence[Sample | None]) -> Batch | SharedBatch | None:
        """Return the batch, or, in a loader process, a `SharedBatch`, which the main process unpickles into the batch.

        Samples that are None are left out; without any other the batch is None.
        """
        readable = [sample for sample in samples if sample is not None]
        if not readable:
            return None
        images, masks = [sample["image"] for sample in readable], [sample["mask"] for sample in readable]
        count, (height, width) = len(readable), images[0].shape[1:]
        uniform = all(part.dtype == torch.uint8 and part.shape[1:] == (height, width) for part in images + masks)
        if get_worker_info() is None or not uniform or 4 * count * height * width > self.slot_bytes:
            return collate(readable)
        slot = self._acquire_slot()
        if slot is None:
            return collate(readable)
        shape = (count, height, width)
        image, mask = self._slot_arrays(slot, *shape)
        stack_into(readable, torch.from_numpy(image), torch.from_numpy(mask))
        return SharedBatch(self.key, slot, shape, [sample["name"] for sample in readable])

    def unpack(self, slot: int, shape: tuple[int, int, int], names: list[str]) -> Batch:
        """Copy the batch out of `slot` and free the slot."""
        image, mask = (torch.from_numpy(part.copy()) for part in self._slot_arrays(slot, *shape))
        self._slot_in_use[slot] = 0
        return {"image": image.permute(0, 3, 1, 2), "mask": mask[:, None], "name": names}

    def _acquire_slot(self) -> int | None:
        """Reserve a free slot. The slots of batches that are never fetched stay reserved."""
        if self._memory is None or not self._lock.acquire(timeout=1):  # a killed process may hold the lock forever
            return None
        try:
            in_use = self._slot_in_use
            slot = int(in_use.argmin())
            if in_use[slot]:
                return None
            in_use[slot] = 1
            return slot
        finally:
            self._lock.release()

    @property
    def _slot_in_use(self) -> NDArray[np.uint8]:
        assert self._memory is not None
        return np.frombuffer(self._memory, np.uint8, self.num_slots, self.num_slots * self.slot_bytes)

    def _slot_arrays(self, slot: int, count: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the images (count, H, W, 3) and masks (count, H, W) of a slot."""
        assert self._memory is not None
        pixels = count * height * width
        content = np.frombuffer(self._memory, np.uint8, 4 * pixels, slot * self.slot_bytes)
        return content[: 3 * pixels].reshape(count, height, width, 3), content[3 * pixels :].reshape(count, height, width)


_INSTANCES: WeakValueDictionary[str, SharedMemoryCollate] = WeakValueDictionary()


class SharedBatch:
    """The location of a batch in shared memory, sent by a loader process.

    Unpickled in the main process, it becomes the batch.
    """

    def __init__(self, *content: Any) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, self.content


def _unpack(key: str, slot: int, shape: tuple[int, int, int], names: list[str]) -> Batch:
    return _INSTANCES[key].unpack(slot, shape, names)
