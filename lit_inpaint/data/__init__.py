"""Data modules for any folder, the papers' data sets and built-in demo photographs.

Batches are described in `lit_inpaint.types`. `read_image` reads an image file as the data modules do.
"""

from lit_inpaint.data.datamodule import InpaintingData
from lit_inpaint.data.datasets.ade20k import ADE20K
from lit_inpaint.data.datasets.celeba import CelebA
from lit_inpaint.data.datasets.celebahq import CelebAHQ
from lit_inpaint.data.datasets.cub200 import CUB200
from lit_inpaint.data.datasets.demo_photos import DemoPhotos
from lit_inpaint.data.datasets.ffhq import FFHQ
from lit_inpaint.data.datasets.folder import EvaluationFolder, Folder
from lit_inpaint.data.datasets.list_file import ListFile
from lit_inpaint.data.datasets.oxford_buildings import Oxford
from lit_inpaint.data.datasets.places2 import Places2
from lit_inpaint.data.datasets.stanford_cars import StanfordCars
from lit_inpaint.data.datasets.stl10 import STL10
from lit_inpaint.data.datasets.tiny_imagenet import TinyImageNet
from lit_inpaint.data.splits import Splits
from lit_inpaint.data.train_mix import TrainFolder, TrainMix
from lit_inpaint.data.transforms import (
    LamaAugment,
    NativeSize,
    PolyphaseSubsample,
    RandomAffine,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    ResizedCenterCrop,
    Transform,
)
from lit_inpaint.storage.image_decode import read_image

__all__ = [
    "ADE20K",
    "CUB200",
    "FFHQ",
    "STL10",
    "CelebA",
    "CelebAHQ",
    "DemoPhotos",
    "EvaluationFolder",
    "Folder",
    "InpaintingData",
    "LamaAugment",
    "ListFile",
    "NativeSize",
    "Oxford",
    "Places2",
    "PolyphaseSubsample",
    "RandomAffine",
    "RandomCrop",
    "RandomResizedCrop",
    "Resize",
    "ResizedCenterCrop",
    "Splits",
    "StanfordCars",
    "TinyImageNet",
    "TrainFolder",
    "TrainMix",
    "Transform",
    "read_image",
]
