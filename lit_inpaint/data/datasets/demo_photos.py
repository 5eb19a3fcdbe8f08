"""Built-in demo photographs from the scikit-image wheel, so that a new installation trains offline."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from lit_inpaint.data.datamodule import DatasetDefaults, InpaintingData
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.splits import Splits, folder_splits
from lit_inpaint.data.transforms import RandomResizedCrop
from lit_inpaint.errors import UserError

TRAIN = (
    "astronaut.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",  # a stereo pair: both are in this split
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
VAL = ("chelsea.png", "coffee.png")


class DemoPhotos(InpaintingData):
    """Nine built-in color photographs: seven to train on, two (a cat, a cup of coffee) to validate and test on.

    They come with scikit-image 0.25 or 0.26. They suffice to see a network learn to continue colors, edges and textures; its
    scores are not comparable with others. An epoch is 200 random crops of each training image; evaluation uses 24 crops of each
    validation image. With a `root` this class is `Folder`.
    """

    expected_layout: ClassVar[str] = "images (without --data.root it takes its built-in photographs)"

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Without a `root`, many crops of few images, cached in memory."""
        if root is not None:
            return DatasetDefaults()
        return DatasetDefaults(
            train_transform=RandomResizedCrop(scale=(0.25, 1.0)),
            val_transform=RandomResizedCrop(scale=(0.25, 1.0), flip=0.0),
            val_crops=24,
            repeat=200,
            cache=True,
        )

    def splits(self) -> Splits:
        """See the class."""
        if self.root is not None:
            return folder_splits(self.root_folder(), self.seed)
        val = _built_in(VAL)
        return Splits(_built_in(TRAIN), val, val, "photographs in scikit-image, test is val")


def _built_in(names: tuple[str, ...]) -> ImageFiles:
    package = find_spec("skimage")  # finds the folder without importing the package
    if package is None or package.origin is None:
        raise UserError("DemoPhotos needs scikit-image for its photographs; install it, or name a folder: --data.root DIR")
    files = tuple(Path(package.origin).parent / "data" / name for name in names)
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(
            f"this scikit-image lacks {', '.join(missing)}: install 0.25 or 0.26, or name a folder: --data.root DIR"
        )
    return ImageFiles.from_paths(files)
