import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]
Pack = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a small, distinct image below `tmp_path` and return its path."""

    def save(name: str, number: int = 0, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
        return path

    return save


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Pack the files below a folder into a `.zip` or `.tar`, in an order that is not sorted, and return the archive."""

    def save(name: str, top: str = "images", method: int = zipfile.ZIP_DEFLATED) -> Path:
        archive, folder = tmp_path / name, tmp_path / top
        archive.parent.mkdir(parents=True, exist_ok=True)
        if archive.suffix == ".tar":
            with tarfile.open(archive, "w") as content:
                content.add(folder, ".")
        else:
            with zipfile.ZipFile(archive, "w", method) as content:
                for path in sorted(folder.rglob("*"), reverse=True):
                    content.write(path, path.relative_to(folder))
        return archive

    return save
