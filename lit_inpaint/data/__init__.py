"""What networks are trained and evaluated on: data modules for folders, the papers' data sets and the demo photographs.

Batches keep the contract of `lit_inpaint.types`. `read_image` reads any picture the way the data modules do.
"""

from lit_inpaint.data.celeba import CelebA
from lit_inpaint.data.demo import DemoPhotos
from lit_inpaint.data.folder import Folder
from lit_inpaint.data.lists import Lists
from lit_inpaint.data.module import InpaintingData
from lit_inpaint.data.places2 import Places2
from lit_inpaint.data.reading import read_image
from lit_inpaint.data.views import CentreSquare, RandomSquare, Subsampled, View

__all__ = [
    "CelebA",
    "CentreSquare",
    "DemoPhotos",
    "Folder",
    "InpaintingData",
    "Lists",
    "Places2",
    "RandomSquare",
    "Subsampled",
    "View",
    "read_image",
]
