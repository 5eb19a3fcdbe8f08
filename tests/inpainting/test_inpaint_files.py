"""Many files: results of earlier calls are kept if they are whole and of the same request."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_gan import TinyGAN

from lit_inpaint.data.pair_inpaint_inputs import pair_inputs
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.baselines import ClassicalMethod, mean_fill
from lit_inpaint.inpainting import inpaint_files as module
from lit_inpaint.inpainting.inpaint_files import inpaint_files
from lit_inpaint.inpainting.strategies import Filler

MEAN = Filler(ClassicalMethod("mean", mean_fill), "whole")
NAMES = ("a", "b", "c")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        mask = np.zeros((20, 30), np.uint8)
        mask[5:9, 6:12] = 255
        for kind, array in (("images", pixels), ("masks", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / kind / f"{name}.png")
    return tmp_path


def run(folder: Path, filler: Filler = MEAN, white_is_hole: bool = True) -> tuple[int, int]:
    """Inpaint all; return how many were inpainted and how many kept."""
    pairs = pair_inputs(folder / "images", folder / "masks", folder / "out")
    summary = inpaint_files(filler, pairs, white_is_hole, 1.0)
    return len(summary.ratios), summary.kept


def test_results_are_kept_if_nothing_changed(folder: Path) -> None:
    assert run(folder) == (3, 0)
    assert run(folder) == (0, 3)
    (folder / "out" / "b.png").write_bytes((folder / "out" / "b.png").read_bytes()[:-20])
    (folder / "out" / "c.png").unlink()
    assert run(folder) == (2, 1)
    Image.fromarray(np.full((20, 30), 255, np.uint8)).save(folder / "masks" / "a.png")
    assert run(folder) == (1, 2)
    Image.new("RGB", (20, 30)).save(folder / "out" / "a.png")  # of another program
    assert run(folder) == (1, 2)
    assert run(folder, Filler(MEAN.method, "crop")) == (3, 0)
    assert run(folder, Filler(MEAN.method, "crop"), white_is_hole=False) == (2, 0)  # a has no hole then
    assert run(folder) == (3, 0)


def test_other_weights_are_another_request(folder: Path) -> None:
    torch.manual_seed(0)
    model = TinyGAN().eval()
    assert run(folder, Filler(model, "whole")) == (3, 0)
    assert run(folder, Filler(model, "whole")) == (0, 3)
    with torch.no_grad():
        next(model.generator.parameters()).add_(0.5)
    assert run(folder, Filler(model, "whole")) == (3, 0)


def test_an_interruption_leaves_whole_results(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill, calls = module.fill_array, []

    def interrupted(*args: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        fill(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "fill_array", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    assert [path.name for path in (folder / "out").iterdir()] == ["a.png"]
    assert run(folder) == (2, 1)


def test_a_full_disk_stops_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image: Image.Image, path: Path, **options: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match=r"cannot write .*a\.png \(No space left on device\)"):
        run(folder)
    assert not list((folder / "out").iterdir())


def test_not_enough_memory_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exhausted(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    filler = Filler(ClassicalMethod("mean", exhausted), "whole")
    with pytest.raises(
        UserError, match=r"none of the 3 .*not enough memory on cpu to inpaint .*a\.png, 30x20 pixels; use --strategy crop"
    ):
        run(folder, filler)
    assert capsys.readouterr().err.count("skipped: not enough memory") == 3


def test_the_folder_of_the_inputs_is_no_output(folder: Path) -> None:
    with pytest.raises(UserError, match=r"is the folder of --images; name another one, such as .*images/inpainted"):
        pair_inputs(folder / "images", folder / "masks", folder / "images")
    (folder / "link").symlink_to(folder / "masks")
    with pytest.raises(UserError, match=r"is the folder of --masks"):
        pair_inputs(folder / "images", folder / "masks", folder / "link")


def test_links_are_read_but_not_written_through(folder: Path) -> None:
    outside = folder / "outside.png"
    outside.write_bytes((folder / "images" / "a.png").read_bytes())
    before = outside.read_bytes()
    (folder / "images" / "a.png").unlink()
    (folder / "images" / "a.png").symlink_to("../outside.png")
    (folder / "images" / "b.png").unlink()
    (folder / "images" / "b.png").symlink_to("nowhere.png")
    (folder / "elsewhere.png").write_bytes(b"mine")
    (folder / "out").mkdir()
    (folder / "out" / "c.png").symlink_to("../elsewhere.png")
    pairs = pair_inputs(folder / "images", folder / "masks", folder / "out")
    summary = inpaint_files(MEAN, pairs, True, 1.0)
    assert len(summary.ratios) == 2
    assert [line.partition(" (")[0] for line in summary.skipped] == [f"cannot read {folder / 'images' / 'b.png'}"]
    assert outside.read_bytes() == before
    assert (folder / "elsewhere.png").read_bytes() == b"mine"
    assert not (folder / "out" / "c.png").is_symlink()
    (folder / "out" / "a.png").unlink()
    (folder / "out" / "a.png").symlink_to(outside)
    with pytest.raises(UserError, match="is one of the inputs and would be overwritten"):
        pair_inputs(folder / "images", folder / "masks", folder / "out")
