from pathlib import Path

import pytest
from PIL import Image

from lit_inpaint import demo
from lit_inpaint.errors import UserError


def test_three_photographs_are_repaired_in_one_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--output", str(tmp_path / "new" / "repaired.png")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in printed[:3]] == ["chelsea.png", "coffee.png", "astronaut.png"]
    for line in printed[:3]:
        ours, classical = (float(part.split(" dB")[0].rpartition(" ")[2]) for part in line.split(";"))
        assert ours > 28
        assert classical > 27
    with Image.open(tmp_path / "new" / "repaired.png") as picture:
        assert picture.size[0] > 4 * 600


def test_the_output_is_a_png(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end with \.png"):
        demo.main(["--output", str(tmp_path / "x.jpg")])
