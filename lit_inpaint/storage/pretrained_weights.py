"""Network weights that others have trained: which files, where they lie, how they are read.

A file lies under the name that its publisher gave it in one folder, `$LIT_INPAINT_CACHE`, or `~/.cache/lit_inpaint` where that
is not set. `python -m lit_inpaint.fetch` puts it there, on a machine with network; nothing in here downloads.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from lit_inpaint.errors import UserError
from lit_inpaint.storage.cache_dir import cache_dir


@dataclass(frozen=True)
class WeightsFile:
    """A published file of weights.

    Attributes:
        name: what `python -m lit_inpaint.fetch` calls it.
        about: what it is, for people.
        url: where its publisher keeps it. The file's name ends in `-<digest>`: the first hexadecimal digits of its SHA-256.
        megabytes: its size, roughly.
    """

    name: str
    about: str
    url: str
    megabytes: int

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    @property
    def digest(self) -> str:
        """The first digits of the file's SHA-256."""
        return Path(self.file).stem.rpartition("-")[2]

    @property
    def path(self) -> Path:
        """Where the file belongs on this machine."""
        return cache_dir() / self.file

    def read(self) -> dict[str, Tensor]:
        """The state dict in the file, on the CPU; nothing in the file is executed.

        Raises:
            UserError: the file is not there, naming its path and the command that puts it there; or it cannot be read.
        """
        if not self.path.is_file():
            raise UserError(
                f"{self.about}: no weights at {self.path}; put {self.file} there, or run `python -m lit_inpaint.fetch "
                f"{self.name}` on a machine with network ({self.megabytes} MB)"
            )
        try:
            # Mapped where the format allows it: most of these files is the classifier, which nobody asks for.
            mapped = zipfile.is_zipfile(self.path)
            content = torch.load(self.path, map_location="cpu", weights_only=True, mmap=mapped)
        except Exception as error:  # foreign bytes are a foreign program to an unpickler, which may stumble in any way
            raise UserError(f"{self.path} cannot be read; `python -m lit_inpaint.fetch {self.name}` replaces it") from error
        if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
            raise UserError(f"{self.path} holds no state dict; `python -m lit_inpaint.fetch {self.name}` replaces it")
        return cast(dict[str, Tensor], content)


VGG16 = WeightsFile("vgg16", "VGG-16 (ImageNet)", "https://download.pytorch.org/models/vgg16-397923af.pth", 528)
VGG19 = WeightsFile("vgg19", "VGG-19 (ImageNet)", "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", 548)
ALEXNET = WeightsFile(
    "alexnet", "AlexNet (ImageNet), for LPIPS", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", 233
)
INCEPTION = WeightsFile(
    "inception",
    "Inception-v3 (FID's, of 2015)",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    91,
)
