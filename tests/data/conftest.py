import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

Pack = Callable[..., Path]


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
