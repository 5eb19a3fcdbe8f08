"""Fetching from a server on this machine, and from a folder; there is no other network in the tests."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import forked
import pytest
import torch

from lit_inpaint import fetch
from lit_inpaint.errors import UserError
from lit_inpaint.storage.pretrained_weights import WeightsFile


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if "cut" not in self.path:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"but that is all")
        return None


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which it is served."""
    folder = tmp_path / "shop"
    folder.mkdir()
    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "new" / "cache"))
    return tmp_path / "new" / "cache"


@pytest.fixture
def file(shop: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> WeightsFile:
    """A published file of our own, with its digest in its name."""
    folder, address = shop
    torch.save({"weight": torch.arange(5.0)}, folder / "made.pth")
    digest = hashlib.sha256((folder / "made.pth").read_bytes()).hexdigest()[:8]
    (folder / "made.pth").rename(folder / f"tiny-{digest}.pth")
    made = WeightsFile("tiny", "a tiny network", f"{address}/tiny-{digest}.pth", 1)
    monkeypatch.setattr(fetch, "FILES", (made,))
    return made


@pytest.mark.parametrize("argv", [[], ["tiny"], ["tiny", "tiny"]])
def test_fetch(argv: list[str], file: WeightsFile, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch.main(argv) == 0
    assert file.path.parent == cache
    assert torch.equal(file.read()["weight"], torch.arange(5.0))
    assert list(cache.iterdir()) == [file.path], "no temporary file is left"
    assert str(file.path) in capsys.readouterr().out


def test_what_is_there_is_not_fetched_again(file: WeightsFile, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch.main([])
    stamp = file.path.stat().st_mtime_ns
    assert fetch.main(["--mirror", "http://127.0.0.1:9"]) == 0  # where nobody answers
    assert file.path.stat().st_mtime_ns == stamp
    assert "present" in capsys.readouterr().out


def test_a_damaged_file_is_replaced(file: WeightsFile, cache: Path) -> None:
    cache.mkdir(parents=True)
    file.path.write_bytes(b"half of i")
    assert fetch.main([]) == 0
    assert len(file.read()) == 1


def test_a_folder_as_mirror(file: WeightsFile, shop: tuple[Path, str], cache: Path) -> None:
    assert fetch.main(["--mirror", shop[0].as_uri() + "/"]) == 0
    assert len(file.read()) == 1


def test_something_else_under_the_right_name_is_refused(file: WeightsFile, shop: tuple[Path, str], cache: Path) -> None:
    (shop[0] / file.file).write_bytes(b"<html>please log in</html>")
    with pytest.raises(UserError, match=f"SHA-256 does not begin with {file.digest}"):
        fetch.main([])
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    ("mirror", "message"),
    [
        ("http://127.0.0.1:9", r"cannot fetch http://127.0.0.1:9/tiny.*copy tiny-\w+.pth into"),
        ("SHOP/nowhere", "cannot fetch .*(404|Not Found)"),
        ("SHOP/cut", "cannot fetch|SHA-256"),
        ("file:///no/such/folder", "cannot fetch file:///no/such/folder"),
        ("/media/stick", "--mirror /media/stick is not an address"),
    ],
)
def test_no_answer(mirror: str, message: str, file: WeightsFile, shop: tuple[Path, str], cache: Path) -> None:
    with pytest.raises(UserError, match=message) as mistake:
        fetch.main(["--mirror", mirror.replace("SHOP", shop[1])])
    assert "\n" not in str(mistake.value)
    assert not cache.exists() or not list(cache.iterdir())


def test_a_cache_that_cannot_be_written(file: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "taken" / "cache"))
    with pytest.raises(UserError, match=r"cannot write into .*taken.*LIT_INPAINT_CACHE"):
        fetch.main([])


def test_list(file: WeightsFile, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch.main(["--list"]) == 0
    assert "missing" in capsys.readouterr().out
    assert not cache.exists()
    fetch.main([])
    capsys.readouterr()
    fetch.main(["--list"])
    assert str(file.path) in capsys.readouterr().out


def test_names(cache: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file 'vgg61' to fetch; did you mean 'vgg1[69]'\?"):
        fetch.main(["vgg61"])
    assert {file.name: (file.file, file.digest) for file in fetch.FILES} == {
        "vgg16": ("vgg16-397923af.pth", "397923af"),
        "vgg19": ("vgg19-dcbb9e9d.pth", "dcbb9e9d"),
        "inception": ("pt_inception-2015-12-05-6726825d.pth", "6726825d"),
        "alexnet": ("alexnet-owt-7be5be79.pth", "7be5be79"),
        "squeezenet": ("squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
    }


def test_as_a_command(tmp_path: Path) -> None:
    """Without a network the real addresses do not answer: one line, status 2; here a mirror that is missing."""
    command = ["-m", "lit_inpaint.fetch", "vgg16", "--mirror", (tmp_path / "none").as_uri()]
    environment = {**os.environ, "LIT_INPAINT_CACHE": str(tmp_path / "cache")}
    done = forked.run(command, environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot fetch file://")
    assert len(done.stderr.splitlines()) == 1
