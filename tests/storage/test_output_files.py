import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from lit_inpaint import export, fit, inpaint, prepare
from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import output_file, require_folder_name, require_writable_folder, write_json
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


FILE_NAMES = ("net.txt", "net.TXT", "~/a.png", "v1/b.webp", "c.tar.gz", "d.pth", "e.ckpt", "f.yaml", "g.safetensors", "h.onnx")


def test_a_folder_is_not_called_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in FILE_NAMES:
        with pytest.raises(UserError, match=f"--to {name} must be a folder; if it is a folder, end it with a slash: {name}/"):
            require_folder_name(name, "--to")
        require_folder_name(f"{name}/")
    (tmp_path / "there.txt").mkdir()
    for name in ("there.txt", "v1.2", "my.model", "2026.11.28", "lr0.1", "net.v2", "a.b", "net", ".hidden", "..", ".", "/"):
        require_folder_name(name)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (export.main, ["--format", "safetensors", "--output", "net.txt"]),
        (inpaint.main, ["--method", "mean", "--images", "a.png", "--masks", "b.png", "--output", "net.txt"]),
        (prepare.main, ["--data", ".", "--output", "net.txt"]),
        (fit.main, ["--experiment", "lpi_demo", "--run_dir", "net.txt"]),
    ],
)
def test_no_command_makes_a_folder_that_is_called_like_a_file(
    command: Callable[[list[str]], int], arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"net\.txt must be a folder"):
        command(arguments)
    assert not list(tmp_path.iterdir())


def test_links_that_lead_in_a_circle_have_a_path(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "link").symlink_to(tmp_path)
    assert real_path(tmp_path / "circle" / "x").name == "x"
    assert real_path(tmp_path / "link") == tmp_path.resolve()


def test_tensors_that_cannot_be_written_are_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        write_tensors({"a": 1}, tmp_path / "file" / "a.pt")
