import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lit_inpaint import preview
from lit_inpaint.types import UserError


def test_a_batch_as_a_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "preview.png"
    assert preview.main(["--experiment", "lpi_demo", "--output", str(output), "--data.batch_size", "3"]) == 0
    with Image.open(output) as picture:
        # margin, three columns of 64-pixel crops shown twice as large; title and headings, three rows
        assert picture.size == (170 + 3 * (128 + 6) + 6, 2 * 26 + 3 * 128 + 4 * 6)
        # The mask column is black and white, and white in the masked input where the mask is.
        mask = picture.crop((170 + 134, 55, 170 + 134 + 128, 55 + 128))
        assert set(mask.convert("L").getextrema()) == {0, 255}
    printed = capsys.readouterr().out
    assert "DemoPhotos" in printed
    assert "mean hole share" in printed
    assert [path.name for path in output.parent.iterdir()] == ["preview.png"]


def test_at_most_sixteen_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "preview.png"
    options = ["--data.batch_size", "20", "--data.size", "16", "--data.workers", "2"]
    assert preview.main(["--experiment", "lpi_demo", "--output", str(output), *options]) == 0
    with Image.open(output) as picture:
        assert picture.height == 2 * 26 + 16 * 160 + 17 * 6
    assert "first 16 of 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--experiment", "lpi_demo", "--output", "preview.jpg"], r"must end with \.png"),
        (["--experiment", "lpi_demmo", "--output", "preview.png"], "lpi_demo"),
        (["--experiment", "lpi_demo", "--output", "preview.png", "--data.sise", "3"], "data.sise.*size"),
        (["--experiment", "lpi_demo", "--output", "preview.png", "--model.blocks", "4"], "--model.blocks"),
        (["--experiment", "lpi_demo", "--output", "preview.png", "--outpt", "4"], "--outpt; did you mean --output"),
        (["--experiment", "lpi_demo", "--output", "preview.png", "extra"], "extra"),
        (["--experiment", "lpi_demo", "--output", "preview.png", "--data.root", "nowhere"], "nowhere"),
        (["--output", "preview.png"], "--experiment"),
    ],
)
def test_mistakes(argv: list[str], message: str, tmp_path: Path) -> None:
    argv = [str(tmp_path / word) if word.startswith("preview.") else word for word in argv]
    with pytest.raises(UserError, match=message):
        preview.main(argv)
    assert not any(tmp_path.iterdir())


def test_as_a_command(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    argv = ["--experiment", "lpi_demo", "--output", str(tmp_path / "file" / "preview.png")]
    done = subprocess.run([sys.executable, "-m", "lit_inpaint.preview", *argv], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write into")
    assert len(done.stderr.splitlines()) == 1
