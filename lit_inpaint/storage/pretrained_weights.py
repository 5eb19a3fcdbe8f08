"""Pretrained weights of loss and metric networks: file names, digests, location, reading.

Each file keeps its publisher's name and lies in the cache directory (`$LIT_INPAINT_CACHE`, by default `~/.cache/lit_inpaint`).
`python -m lit_inpaint.fetch` downloads it; this module never does.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lit_inpaint.errors import UserError
from lit_inpaint.storage.cache_dir import cache_dir

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WeightsFile:
    """A published file of weights.

    Attributes:
        name: name for `python -m lit_inpaint.fetch`.
        description: network and data set, for messages.
        url: publisher's address. The file name ends in `-<digest>`, the first hexadecimal digits of its SHA-256.
        megabytes: approximate size.
    """

    name: str
    description: str
    url: str
    megabytes: int

    @property
    def file(self) -> str:
        """File name."""
        return self.url.rpartition("/")[2]

    @property
    def digest(self) -> str:
        """First hexadecimal digits of the file's SHA-256."""
        return Path(self.file).stem.rpartition("-")[2]

    @property
    def path(self) -> Path:
        """Path in the cache directory; the file need not exist."""
        return cache_dir() / self.file

    def read(self, other: Path | None = None) -> dict[str, Tensor]:
        """Read the state dict on the CPU with `weights_only=True`.

        Args:
            other: a file of the user's in place of the one in the cache.

        Raises:
            UserError: the file is missing or unreadable; names its path, and the command that fetches the published one.
        """
        path = self.path if other is None else other
        if not path.is_file():
            remedy = f"put {self.file} there, or run `python -m lit_inpaint.fetch {self.name}`"
            remedy += f" on a machine with network ({self.megabytes} MB)"
            raise UserError(f"{self.description}: no weights at {path}; {remedy if other is None else 'correct the path'}")
        replace = f"`python -m lit_inpaint.fetch {self.name}` replaces it"
        return read_state_dict(path, replace if other is None else "give a state dict, as .safetensors or of torch.save")

    def mismatch(self, network: str, other: Path | None = None) -> UserError:
        """The error for a state dict of another network; arguments as for `read`, and whose `network` is expected."""
        remedy = f"; put {self.file} there" if other is None else ""
        return UserError(f"{self.path if other is None else other} is not {network}{remedy}")


def read_state_dict(path: Path, remedy: str) -> dict[str, Tensor]:
    """Read a state dict on the CPU with `weights_only=True`.

    Args:
        path: of an existing file, `.safetensors` or of `torch.save`.
        remedy: end of the messages.

    Raises:
        UserError: the file is unreadable or holds something else.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        require_unpacked(path)
        # Memory-mapped if the format allows it: most bytes of some files belong to layers that are not used.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UserError:
        raise
    except Exception as error:  # unpickling arbitrary bytes can raise any exception
        raise UserError(f"{path} cannot be read; {remedy}") from error
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{path} holds no state dict; {remedy}")
    return cast("dict[str, Tensor]", content)


def require_unpacked(path: Path) -> None:
    """Check that an archive of `torch.save` is not compressed, so that it takes as much memory as its file.

    Raises:
        UserError: it is compressed, or its members overlap.
        zipfile.BadZipFile: it is damaged.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if packed or sum(member.file_size for member in members) > path.stat().st_size:
        raise UserError(f"{path} is a compressed archive, which torch.save does not write; unpack it, or get it again")


VGG16 = WeightsFile("vgg16", "VGG-16 (ImageNet)", "https://download.pytorch.org/models/vgg16-397923af.pth", 528)
VGG19 = WeightsFile("vgg19", "VGG-19 (ImageNet)", "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", 548)
ALEXNET = WeightsFile(
    "alexnet", "AlexNet (ImageNet), for LPIPS", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", 233
)
SQUEEZENET = WeightsFile(
    "squeezenet", "SqueezeNet 1.1 (ImageNet), for LPIPS", "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth", 5
)
INCEPTION = WeightsFile(
    "inception",
    "Inception-v3 (FID's, of 2015)",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    91,
)
