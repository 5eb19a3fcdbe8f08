"""Decoded images in memory, which loader processes share however they were started."""

from __future__ import annotations

import mmap
import os
from multiprocessing import context, reduction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_inpaint.data.image_source import Indices


class ImageCache:
    """Images (3, H, W) uint8 by index.

    Forked processes share the memory. For processes that are started otherwise (`spawn`, and `forkserver`, the default of
    Python 3.14) the images are copied once, into a file without a name in memory. One descriptor leads to it, where torch would
    send one for each image. A copy by pickle that starts no process is empty.
    """

    def __init__(self) -> None:
        self._images: dict[int, Tensor] = {}
        self._file: int | None = None

    def __setitem__(self, index: int, image: Tensor) -> None:
        self._images[index] = image

    def get(self, index: int) -> Tensor | None:
        """Return the image, or None if it is not cached. Do not write to it."""
        return self._images.get(index)

    def __getstate__(self) -> dict[str, Any]:
        """Return the descriptor, and the index, height and width of each image."""
        if not self._images or context.get_spawning_popen() is None or not hasattr(os, "memfd_create"):
            return {}
        if self._file is None:
            self._file = os.memfd_create("lit_inpaint images")
            with open(self._file, "wb", closefd=False) as file:
                for image in self._images.values():
                    file.write(image.permute(1, 2, 0).contiguous().numpy().tobytes())
        shapes = np.array([(index, *image.shape[1:]) for index, image in self._images.items()], np.int64)
        return {"descriptor": reduction.DupFd(self._file), "shapes": shapes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Map the file into memory."""
        self.__init__()  # type: ignore[misc]
        if not state:
            return
        shapes: Indices = state["shapes"]
        descriptor = state["descriptor"].detach()
        memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
        os.close(descriptor)
        pixels, begin = torch.frombuffer(memory, dtype=torch.uint8), 0
        for index, height, width in shapes.tolist():
            size = height * width * 3
            self._images[index] = pixels[begin : begin + size].view(height, width, 3).permute(2, 0, 1)
            begin += size

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)
