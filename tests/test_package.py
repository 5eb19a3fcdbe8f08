"""The wheel and the sdist: complete, equal, and usable from an empty folder."""

from __future__ import annotations

import email
import hashlib
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import lit_inpaint

ROOT = Path(__file__).parents[1]
MAX_WHEEL_BYTES = 12e6


def built_wheel(source: Path, output: Path) -> Path:
    (wheel,) = WheelBuilder(str(source)).build(directory=str(output), versions=["standard"])
    return Path(wheel)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's files, as in `site-packages`."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def source_files(folder: str) -> Iterator[Path]:
    for path in (ROOT / folder).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(ROOT)


def digests(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def test_wheel_has_every_file_of_the_package_and_the_experiments(wheel: Path) -> None:
    expected = {path.as_posix() for path in source_files("lit_inpaint")}
    expected |= {f"lit_inpaint/{path.as_posix()}" for path in source_files("experiments")}
    found = {name for name in digests(wheel) if ".dist-info/" not in name}
    assert found == expected
    for file in ("experiments/data/celeba.yaml", "pretrained/model.safetensors", "published/deepgin.json", "py.typed"):
        assert f"lit_inpaint/{file}" in found  # the comparison above is of two lists that a move could empty
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


def test_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    (sdist,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    top = {path.name for path in source.iterdir()} - {"PKG-INFO", ".gitignore"}
    assert top == {"lit_inpaint", "experiments", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"}
    assert digests(built_wheel(source, tmp_path / "wheel")) == digests(wheel)


def test_metadata(wheel: Path) -> None:
    (folder,) = {name.partition("/")[0] for name in digests(wheel) if ".dist-info/" in name}
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        assert archive.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert metadata["Version"] == lit_inpaint.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]


_FIND_EXPERIMENTS = """
import lit_inpaint
from lit_inpaint.config.load_yaml import experiment_names, load_experiment
for name in experiment_names():
    load_experiment(name)
own = load_experiment("own.yaml")["model"]["init_args"]["network"]["init_args"]
print(lit_inpaint.__file__, *experiment_names(), own["levels"])
"""


def test_experiments_are_found_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """Also by the `base` of a user's own file, and not in the folder `experiments` of another project."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "own.yaml").write_text("base: benchmark/networks/pconv.yaml\nmodel: {network: {levels: 4}}\n")
    done = subprocess.run(
        [sys.executable, "-c", _FIND_EXPERIMENTS],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    file, *names, levels = done.stdout.split()
    assert Path(file).is_relative_to(installed)
    assert {"lpi_demo", "benchmark/networks/pconv"} <= set(names)
    assert levels == "4"
