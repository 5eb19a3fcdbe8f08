"""Every notebook runs from top to bottom in a kernel of its own and is stored without outputs."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.rglob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
SECONDS = 120  # limit for one cell, on a busy machine
SHORTER = {  # text of a notebook and what the test runs in its place
    "quickstart": {"STEPS = 450": "STEPS = 3", '"lpi_demo"': '"lpi_demo", "--data.val_crops", "1"', "(0)), 256)": "(0)), 64)"}
}
WRITTEN = {"quickstart": {"runs"}}


@pytest.fixture
def own_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; the kernel uses this Python environment and writes nothing into the user's home."""
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@each_notebook
def test_a_notebook_runs(path: Path, own_kernel: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for text, shorter in SHORTER.get(path.stem, {}).items():
        (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and text in cell.source)
        cell.source = cell.source.replace(text, shorter)
    resources = {"metadata": {"path": str(own_kernel)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources).execute()
    cells = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    pictures = [sum("image/png" in output.get("data", {}) for output in outputs) for outputs in cells]
    assert any(pictures)
    assert not any(output.output_type == "error" for outputs in cells for output in outputs)
    if path.stem == "quickstart":
        assert pictures == [0, 0, 0, 1, 1, 0, 1], "filled holes, samples of the training, holes filled by the trained network"
        table = "".join(output.get("data", {}).get("text/plain", "") for output in cells[5])
        assert all(name in table for name in ("LPINet", "ResidualUNet", "Mean fill", "OpenCV Telea", "OpenCV Navier-Stokes"))
    assert {entry.name for entry in own_kernel.iterdir()} == WRITTEN.get(path.stem, set())
    assert not any(folder.name.startswith("tmp") for folder in own_kernel.parent.iterdir()), "temporary files are left"


def test_quickstart_installs_a_wheel_beside_it_or_one_that_colab_uploads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never takes what another author may have put into the registry under the name of the package."""
    notebook = nbformat.read(FOLDER / "quickstart.ipynb", as_version=4)
    (cell,) = (cell for cell in notebook.cells if "find_spec" in cell.source)
    installed: list[str] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: installed.append(command[-1]))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(SystemExit, match="put the wheel beside this notebook"):
        exec(cell.source, {})
    assert not installed

    def upload() -> dict[str, bytes]:
        """As Colab's: it writes the files and returns their contents; a browser names a second download like this."""
        contents = {"lit_inpaint-1-py3-none-any (1).whl": b"wheel", "other-1-py3-none-any.whl": b"", "a.txt": b""}
        for name, content in contents.items():
            Path(name).write_bytes(content)
        return contents

    colab = SimpleNamespace(files=SimpleNamespace(upload=upload))
    monkeypatch.setitem(sys.modules, "google", SimpleNamespace(colab=colab))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    exec(cell.source, {})
    assert Path("lit_inpaint-1-py3-none-any.whl").read_bytes() == b"wheel"
    Path("lit_inpaint-2-py3-none-any.whl").touch()
    exec(cell.source, {})
    assert installed == ["lit_inpaint-1-py3-none-any.whl", "lit_inpaint-2-py3-none-any.whl"]


@each_notebook
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, f"{path.name}: clear all outputs before saving"
            assert cell.execution_count is None
        assert not cell.metadata, f"{path.name} has editor metadata on a cell: {cell.metadata}"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    absolute = re.search(r"(?<![\w.~])/(home|root|Users|tmp|mnt|var|work|opt|data)/[^\"\\]*|[A-Z]:\\\\Users", path.read_text())
    assert not absolute, f"{path.name} has a path of one machine: {absolute and absolute[0]}"
