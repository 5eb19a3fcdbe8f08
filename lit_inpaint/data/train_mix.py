"""Train on several sets of images by turns, each at its own size and batch size."""

from __future__ import annotations

from dataclasses import dataclass, field

from lit_inpaint.data.transforms import RandomCrop, Transform
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource
from lit_inpaint.storage.user_path import user_path


@dataclass(frozen=True)
class TrainFolder:
    """A folder of further training images. All images in it are used, whatever their sub-folders are called.

    Args:
        root: the folder.
        size: side of the square samples in pixels.
        batch_size: samples per batch and process.
        batches: number of consecutive batches in each cycle.
        masks: source of the masks; None: the data set's own.
        transform: crop, resize or augmentation of an image.

    Raises:
        UserError: a number is below 1.
    """

    root: str
    size: int
    batch_size: int
    batches: int = 1
    masks: MaskSource | None = None
    transform: Transform = field(default_factory=RandomCrop)

    def __post_init__(self) -> None:
        for name in ("size", "batch_size", "batches"):
            if getattr(self, name) < 1:
                raise UserError(f"data.mix: {name} of {self.root} is {getattr(self, name)}, it must be at least 1")
        if not self.transform.square:
            raise UserError(f"data.mix: {type(self.transform).__name__} does not make squares, which training batches need")
        object.__setattr__(self, "root", str(user_path(self.root)))


@dataclass(frozen=True)
class TrainMix:
    """A cycle of training batches: first `batches` of the data set, then those of each folder.

    A network so learns several scales at once: small images in large batches, and large images in small ones. Every batch is of
    one size. Validation and test use the data set alone.

    Args:
        folders: further training images.
        batches: number of the data set's batches in each cycle.

    Raises:
        UserError: `batches` is below 1, or there is no folder.
    """

    folders: list[TrainFolder]
    batches: int = 1

    def __post_init__(self) -> None:
        if self.batches < 1 or not self.folders:
            raise UserError("data.mix needs batches of at least 1 and at least one folder, or leave it out")
