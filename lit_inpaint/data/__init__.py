"""What networks are trained and evaluated on: data modules for folders, the papers' data sets and the demo photographs.

Batches keep the contract of `lit_inpaint.types`. `read_image` reads any picture the way the data modules do.
"""

from lit_inpaint.data.ade20k import ADE20K
from lit_inpaint.data.augmentation import Distortions, RandomAffine
from lit_inpaint.data.cars import StanfordCars
from lit_inpaint.data.celeba import CelebA
from lit_inpaint.data.celebahq import CelebAHQ
from lit_inpaint.data.cub200 import CUB200
from lit_inpaint.data.demo import DemoPhotos
from lit_inpaint.data.ffhq import FFHQ
from lit_inpaint.data.folder import Folder
from lit_inpaint.data.list_file import ListFile
from lit_inpaint.data.lists import Lists
from lit_inpaint.data.module import InpaintingData
from lit_inpaint.data.oxford import Oxford
from lit_inpaint.data.places2 import Places2
from lit_inpaint.data.reading import read_image
from lit_inpaint.data.stl10 import STL10
from lit_inpaint.data.views import CentreSquare, Original, RandomCrop, RandomSquare, Resized, Subsampled, View

__all__ = [
    "ADE20K",
    "CUB200",
    "FFHQ",
    "STL10",
    "CelebA",
    "CelebAHQ",
    "CentreSquare",
    "DemoPhotos",
    "Distortions",
    "Folder",
    "InpaintingData",
    "ListFile",
    "Lists",
    "Original",
    "Oxford",
    "Places2",
    "RandomAffine",
    "RandomCrop",
    "RandomSquare",
    "Resized",
    "StanfordCars",
    "Subsampled",
    "View",
    "read_image",
]
