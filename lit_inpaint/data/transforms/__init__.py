"""Transforms: crop, resize and augment images for training and evaluation."""

from lit_inpaint.data.transforms.augmentation import LamaAugment, RandomAffine
from lit_inpaint.data.transforms.base import Transform
from lit_inpaint.data.transforms.crops import (
    NativeSize,
    PolyphaseSubsample,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    ResizedCenterCrop,
)

__all__ = [
    "LamaAugment",
    "NativeSize",
    "PolyphaseSubsample",
    "RandomAffine",
    "RandomCrop",
    "RandomResizedCrop",
    "Resize",
    "ResizedCenterCrop",
    "Transform",
]
