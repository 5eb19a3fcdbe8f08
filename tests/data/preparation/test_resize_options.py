"""Resizing, copying and encoding of images, and the resolution that transforms need."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from prepare_helpers import fill, noise, write
from torch import Tensor

from lit_inpaint.data import PolyphaseSubsample, RandomResizedCrop, ResizedCenterCrop, Transform, read_image
from lit_inpaint.data.preparation import ResizeOptions, required_shorter_side
from lit_inpaint.data.transforms.augmentation import LamaAugment, RandomAffine


def test_images_are_reduced_or_copied_but_never_enlarged(tmp_path: Path) -> None:
    source_dir = tmp_path / "in"
    fill(source_dir / "val", 1)
    (source_dir / "train").mkdir()
    noise(0, (6, 8)).resize((900, 1200), Image.Resampling.BICUBIC).save(source_dir / "train" / "large.png")
    noise(1, (80, 64)).save(source_dir / "train" / "small.jpg", quality=30)
    noise(2, (80, 50)).save(source_dir / "train" / "other.png")
    write(source_dir, tmp_path / "output", ResizeOptions(32, 64))
    train = tmp_path / "output" / "train"
    assert {path.name: tuple(read_image(path).shape[1:]) for path in train.iterdir()} == {
        "large.jpg": (85, 64),
        "small.jpg": (64, 80),
        "other.jpg": (50, 80),
    }
    assert (train / "small.jpg").read_bytes() == (source_dir / "train" / "small.jpg").read_bytes()
    with Image.open(train / "large.jpg") as image:
        assert image.size == (64, 85)
        assert image.layer[0][1:3] == (1, 1)  # chroma at full resolution
        small = np.asarray(image, np.float32)
    with Image.open(source_dir / "train" / "large.png") as image:
        expected = np.asarray(image.resize((64, 85), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(small - expected).mean() < 2  # of 255; JPEG's and rounding


def test_required_shorter_side() -> None:
    assert required_shorter_side(ResizedCenterCrop(), 256) == 256
    assert required_shorter_side(RandomAffine(), 256) == 256
    assert required_shorter_side(RandomResizedCrop(scale=(0.5, 1.0)), 256) == 512
    assert required_shorter_side(RandomResizedCrop(scale=(0.77, 1.0)), 96) == 125
    assert required_shorter_side(PolyphaseSubsample(factor=2), 256) == 512
    assert required_shorter_side(LamaAugment(), 96) is None

    class Own(Transform):
        def __call__(self, image: Tensor, size: int, rng: torch.Generator) -> Tensor:
            raise AssertionError

    assert required_shorter_side(Own(), 96) is None
