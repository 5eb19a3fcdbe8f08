"""Transforms: from an image of any size to what is trained or evaluated on."""

from lit_inpaint.data.transforms.augmentation import LamaAugment, RandomAffine
from lit_inpaint.data.transforms.crops import (
    NativeSize,
    PolyphaseSubsample,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    ResizedCenterCrop,
    Transform,
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
