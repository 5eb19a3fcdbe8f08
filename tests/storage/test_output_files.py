import json
import math
from pathlib import Path

import pytest

from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import output_file, require_writable_folder, write_json
from lit_inpaint.storage.tensor_file import write_tensors
from lit_inpaint.storage.user_path import real_path


def test_json_holds_numbers_alone_and_is_never_half_there(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_json(path, {"value": 1.5, "spread": None})
    for broken in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            write_json(path, {"value": 2.5, "spread": broken})
    assert json.loads(path.read_text()) == {"value": 1.5, "spread": None}
    assert [found.name for found in tmp_path.iterdir()] == ["scores.json"]


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for name in ("circle", "circle/x", "gone", "gone/x"):
        with pytest.raises(UserError, match=f"{name.partition('/')[0]} is a link that leads nowhere; name another --output"):
            require_writable_folder(tmp_path / name)
    with pytest.raises(UserError, match="File name too long"):
        require_writable_folder(tmp_path / ("n" * 300))
    with pytest.raises(UserError, match="File name too long"):
        output_file(f"{tmp_path}/{'n' * 300}/a.json", ".json")
    require_writable_folder(tmp_path / "a" / "b")


def test_links_that_lead_in_a_circle_have_a_path(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "link").symlink_to(tmp_path)
    assert real_path(tmp_path / "circle" / "x").name == "x"
    assert real_path(tmp_path / "link") == tmp_path.resolve()


def test_tensors_that_cannot_be_written_are_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        write_tensors({"a": 1}, tmp_path / "file" / "a.pt")
