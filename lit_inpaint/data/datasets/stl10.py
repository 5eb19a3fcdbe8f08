"""STL-10: unlabeled images of 96x96 pixels, read from one binary file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.datasets.folder_layouts import fallback_splits, refuse_packed, root_or_archive
from lit_inpaint.data.image_source import ImageSource, Indices
from lit_inpaint.data.splits import Splits, random_split
from lit_inpaint.data.transforms import LamaAugment
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import UnreadableImageError

IMAGES = 100_000
SIDE = 96
BINARY = "unlabeled_X.bin"


class STL10(InpaintingData):
    """STL-10: the 100,000 unlabeled images of 96x96 pixels, split 80:10:10 at random by `seed`.

    Source: Coates et al., "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011;
    https://cs.stanford.edu/~acoates/stl10/.

    Layout: `unlabeled_X.bin`, in `root` or in `stl10_binary/`, which the archive unpacks to. The labeled images are not used.
    Other folders are read as by `Folder`.

    WaveMix trains and tests on such a split (appendix A); which images its authors chose is not published.
    """

    expected_layout: ClassVar[str] = "stl10_binary/unlabeled_X.bin of STL-10 (https://cs.stanford.edu/~acoates/stl10/)"

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Use the augmentation that WaveMix takes from LaMa."""
        return DatasetDefaults(root="data/stl10", train_transform=LamaAugment())

    def splits(self) -> Splits:
        """See the class.

        Raises:
            UserError: the binary has the wrong size, or is still in its archive.
        """
        root = root_or_archive(self)
        path = next((path for path in (root / "stl10_binary" / BINARY, root / BINARY) if path.is_file()), None)
        if path is None:
            refuse_packed(root, ("stl10_binary.tar.gz",))
            return fallback_splits(root, self.seed, f"no {BINARY}, so not STL-10's split")
        expected, found = IMAGES * 3 * SIDE * SIDE, path.stat().st_size
        if found != expected:
            raise UserError(f"{path} has {found:,} bytes instead of {expected:,}, so it is not whole: unpack the archive again")
        return random_split(STL10Binary(path, np.arange(IMAGES)), self.seed, (80, 10, 10))


class STL10Binary(ImageSource):
    """Images of 96x96 pixels in one file, each stored as a red, a green and a blue plane in column-major order.

    Each process that reads the file maps it into memory at its first read. Nothing of the file is copied or pickled.

    Args:
        path: the file.
        indices: which images of the file are used, counted from 0.
    """

    def __init__(self, path: Path, indices: Indices) -> None:
        self.path = path
        self.indices = indices
        self._mapped: NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the mapping, which would be pickled with all its bytes."""
        return {**self.__dict__, "_mapped": None}

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> Tensor:
        """See `ImageSource`."""
        if self._mapped is None:
            try:
                content = np.asarray(np.memmap(self.path, np.uint8, mode="r"))
                self._mapped = content[: len(content) // (3 * SIDE * SIDE) * 3 * SIDE * SIDE].reshape(-1, 3, SIDE, SIDE)
            except (OSError, ValueError) as error:
                raise UnreadableImageError(f"cannot read {self.path} ({error})") from error
        position = int(self.indices[index])
        if position >= len(self._mapped):
            raise UnreadableImageError(f"{self.location(index)} lies beyond the end of the file")
        # From column-major planes to channels-last rows, the memory layout of every image that is read.
        return torch.from_numpy(self._mapped[position].transpose(2, 1, 0).copy()).permute(2, 0, 1)

    def location(self, index: int) -> str:
        """See `ImageSource`."""
        return f"{self.path}, image {self.indices[index]}"

    def name(self, index: int) -> str:
        """See `ImageSource`."""
        return f"unlabeled_{self.indices[index]:06}"

    def take(self, indices: Indices) -> Self:
        """See `ImageSource`."""
        return type(self)(self.path, self.indices[indices])

    def digest(self) -> str:
        """See `ImageSource`. Hashes the file's name and the images' positions in it."""
        return hashlib.sha256(self.path.name.encode() + b"\0" + self.indices.astype("<i8").tobytes()).hexdigest()
