"""The preview command: grid of a training batch, contact sheet of masks, one-line errors."""

import inspect
import re
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from PIL import Image

from lit_inpaint import masks, preview
from lit_inpaint.errors import UserError


def test_batch_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "preview.png"
    assert preview.main(["--experiment", "lpi_demo", "--output", str(output), "--data.batch_size", "3"]) == 0
    with Image.open(output) as image:
        # margin, three columns of 64-pixel crops shown twice as large; title and headings, three rows
        assert image.size == (170 + 3 * (128 + 6) + 6, 2 * 26 + 3 * 128 + 4 * 6)
        # The mask column is black and white, and white in the masked input where the mask is.
        mask = image.crop((170 + 134, 55, 170 + 134 + 128, 55 + 128))
        assert set(mask.convert("L").getextrema()) == {0, 255}
    printed = capsys.readouterr().out
    assert "DemoPhotos" in printed
    assert "mean mask ratio" in printed
    assert [path.name for path in output.parent.iterdir()] == ["preview.png"]


def test_draws_at_most_sixteen_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "preview.png"
    options = ["--data.batch_size", "20", "--data.size", "16", "--data.workers", "2"]
    assert preview.main(["--experiment", "lpi_demo", "--output", str(output), *options]) == 0
    with Image.open(output) as image:
        assert image.height == 2 * 26 + 16 * 160 + 17 * 6
    assert "first 16 of 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--experiment", "lpi_demo", "--output", "preview.jpg"], r"must end with \.png"),
        (["--experiment", "lpi_demmo", "--output", "preview.png"], "lpi_demo"),
        (["--experiment", "lpi_demo", "--output", "preview.png", "--data.sise", "3"], "data.sise.*size"),
        (["--experiment", "lpi_demo", "--output", "preview.png", "--model.blocks", "4"], "--model.blocks"),
        (["--experiment", "lpi_demo", "--output", "preview.png", "--outpt", "4"], "--outpt; did you mean '--output'"),
        (["--experiment", "lpi_demo", "--output", "preview.png", "extra"], "extra"),
        (["--experiment", "lpi_demo", "--output", "preview.png", "--data.root", "nowhere"], "nowhere"),
        (["--output", "preview.png"], "give --experiment NAME .* or --masks"),
        (["--experiment", "lpi_demo", "--masks", "Boxes", "--output", "preview.png"], "give one of the two"),
        (["--experiment", "lpi_demo", "--size", "32", "--output", "preview.png"], "--size goes with --masks.*--data.size"),
        (["--experiment", "lpi_demo", "--count", "2", "--output", "preview.png"], "--count goes.*--data.batch_size"),
        (["--masks", "Boxes", "--output", "preview.png", "--data.size", "32"], "--data.size goes with --experiment"),
        (["--masks", "Boxes", "--output", "preview.jpg"], r"must end with \.png"),
        (["--masks", "Boxes", "--output", "preview.png", "--size", "0"], "--size: expected a whole number of at least 1"),
        (
            ["--masks", "FreForm", "--output", "preview.png"],
            "no source or folder 'FreForm'; did you mean 'FreeForm' or 'RandomFromFolder'",
        ),
        (["--masks", "xyz", "--output", "preview.png"], "'xyz'; there are Boxes, .*FreeForm"),
        (["--masks", "MaskSource", "--output", "preview.png"], "no source or folder 'MaskSource'"),
        (["--masks", "mask_ratio", "--output", "preview.png"], "no source or folder 'mask_ratio'"),
        (
            ["--masks", "torch.Tensor", "--output", "preview.png"],
            "--masks torch.Tensor: Import path torch.Tensor does not",
        ),
        (["--masks", "/no/such/folder", "--output", "preview.png"], "the mask folder /no/such/folder does not exist"),
        (["--masks", "RandomFromFolder", "--output", "preview.png"], "RandomFromFolder needs root"),
        (["--masks", "{class_path: Boxes, cont: 3}", "--output", "preview.png"], "'masks.cont'; did you mean 'count'"),
        (["--masks", "{class_path: Boxes, count: 3}", "--output", "preview.png"], "masks.count: expected tuple, got '3'"),
        (["--masks", "{class_path: Boxes, count: [3, 1]}", "--output", "preview.png"], r"Boxes\.count is \(3, 1\)"),
        (
            ["--masks", "{class_path: MaskRatio, source: {class_path: Boxes, cont: 3}}", "--output", "preview.png"],
            "unknown key 'masks.source.cont'; did you mean 'count'",
        ),
        (["--masks", "{class_path: Center, init_args: {size: 300}}", "--output", "preview.png"], "larger than the image"),
        (["--masks", "[Boxes", "--output", "preview.png"], r"--masks \[Boxes is not valid YAML"),
        (["--masks", "3", "--output", "preview.png"], "--masks 3: expected the name of a source, a folder, or"),
    ],
)
def test_user_errors(argv: list[str], message: str, tmp_path: Path) -> None:
    argv = [str(tmp_path / word) if word.startswith("preview.") else word for word in argv]
    with pytest.raises(UserError, match=message):
        preview.main(argv)
    assert not any(tmp_path.iterdir())


def drawn(tmp_path: Path, *argv: str) -> np.ndarray:
    output = tmp_path / "masks.png"
    assert preview.main([*argv, "--output", str(output), "--size", "40"]) == 0
    with Image.open(output) as image:
        return np.asarray(image).copy()


def test_contact_sheet_of_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = "{class_path: Boxes, count: [1, 1], init_args: {side: [0.5, 0.5], margin: 0}}"
    sheet = drawn(tmp_path, "--masks", "Center", boxes, "--count", "3")
    black, white = ((sheet == value).all(axis=2) for value in (0, 255))
    assert white.sum() == 2 * 3 * 80 * 80  # 20x20 of 40x40 pixels, shown four times as large
    assert black[:, : 3 * 166].sum() >= 2 * 3 * (160 * 160 - 80 * 80)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == [f"{name}: mask ratio 25.0% ± 0.0%, from 25.0% to 25.0%" for name in ("Center", "Boxes")]
    assert printed[2].startswith("Drawn in")
    assert [path.name for path in tmp_path.iterdir()] == ["masks.png"]


def test_mask_ratios_are_those_of_200_masks_and_follow_the_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = drawn(tmp_path, "--masks", "FreeForm", "--count", "2", "--seed", "3")
    printed = capsys.readouterr().out
    assert np.array_equal(first, drawn(tmp_path, "--masks", "FreeForm", "--count", "2", "--seed", "3"))
    assert not np.array_equal(first, drawn(tmp_path, "--masks", "FreeForm", "--count", "2", "--seed", "4"))
    rng = torch.Generator().manual_seed(3)
    ratios = np.array([masks.FreeForm()((40, 40), rng).mean().item() for _ in range(200)])
    assert f"mask ratio {ratios.mean():.1%} ± {ratios.std():.1%}, from {ratios.min():.1%} to {ratios.max():.1%}" in printed


@pytest.mark.parametrize("argv", [["--masks"], ["--masks", "all"]])
def test_all_sources_without_required_options(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preview, "NUM_RATIOS", 2)
    drawn(tmp_path, *argv, "--count", "1")
    exported = [item for name in masks.__all__ if inspect.isclass(item := getattr(masks, name))]
    expected = []
    for source in exported:
        try:
            expected.append(type(source()).__name__)
        except TypeError:  # abstract, or an option is required
            continue
    assert {"Boxes", "CellularAutomaton", "Center", "MaskRatio", "FreeForm"} <= set(expected)
    assert re.findall(r"^(\w+): mask ratio", capsys.readouterr().out, re.MULTILINE) == expected


def test_folder_and_own_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own_masks.py").write_text(
        "import torch\n"
        "from lit_inpaint.masks import MaskSource\n"
        "class Rows(MaskSource):\n"
        "    def __call__(self, size, rng):\n"
        "        return torch.ones(1, *size).cumsum(1).le(size[0] // 5).float()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "folder").mkdir()
    Image.fromarray(np.repeat([[255], [0]], [1, 9], axis=0).astype(np.uint8)).save(tmp_path / "folder" / "tenth.png")
    monkeypatch.chdir(tmp_path)
    folder = "{class_path: lit_inpaint.masks.RandomFromFolder, root: folder, augment: false}"
    drawn(tmp_path, "--masks", "own_masks.Rows", folder, "folder", "./folder")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Rows: mask ratio 20.0% ± 0.0%, from 20.0% to 20.0%"
    assert printed[1] == "RandomFromFolder: mask ratio 10.0% ± 0.0%, from 10.0% to 10.0%"
    assert [line.split(":")[0] for line in printed[2:4]] == ["RandomFromFolder", "RandomFromFolder"]


def test_options_are_written_as_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lit_inpaint.visualization import mask_rows

    shown = []
    monkeypatch.setattr(preview, "NUM_RATIOS", 2)
    monkeypatch.setattr(mask_rows, "draw_mask_rows", lambda rows, title: shown.extend(rows) or Image.new("RGB", (1, 1)))
    spec = "{class_path: MaskRatio, source: {class_path: Mixture, sources: [Boxes, {class_path: FreeForm, step: 0.3}]}}"
    drawn(tmp_path, "--masks", spec, "Boxes")
    assert shown[0].options == "source=Mixture(sources=(Boxes(), FreeForm(step=0.3))), low=0.4, high=0.5, attempts=8"
    assert shown[1].options == "count=(1, 4), side=(0.117, 0.586), margin=0.0391"


def test_inverted_masks_are_warned_about_when_a_run_is_configured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inverted").mkdir()
    Image.fromarray(np.repeat([[255], [0]], [9, 1], axis=0).astype(np.uint8)).save(tmp_path / "inverted" / "m.png")
    source = ["--data.masks.class_path", "lit_inpaint.masks.RandomFromFolder", "--data.masks.root", str(tmp_path / "inverted")]
    preview.main(["--experiment", "lpi_demo", "--output", str(tmp_path / "batch.png"), *source])
    (warning,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("warning"))
    assert re.search(r"is 90%; probably black, not white, marks their holes: set `white_is_hole: false`", warning)


def test_command_in_a_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    argv = ["--experiment", "lpi_demo", "--output", str(tmp_path / "file" / "preview.png")]
    done = forked.run(["-m", "lit_inpaint.preview", *argv])
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write into")
    assert len(done.stderr.splitlines()) == 1


def test_unknown_mask_source_in_a_process(tmp_path: Path) -> None:
    argv = ["--masks", "FreForm", "--output", str(tmp_path / "masks.png")]
    done = forked.run(["-m", "lit_inpaint.preview", *argv])
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: --masks: no source or folder 'FreForm'; did you mean 'FreeForm' or 'RandomFromFolder'?"
    ]
    assert not any(tmp_path.iterdir())
