from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lit_inpaint.app.__main__ import main
from lit_inpaint.app.methods import load_methods
from lit_inpaint.app.sockets import listen
from lit_inpaint.errors import UserError


def test_a_port_in_use_is_one_line() -> None:
    with listen("127.0.0.1", 0) as socket:
        port = socket.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use; name another one with --port, or --port 0"):
            main(["--port", str(port)])


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "not a host"])
def test_an_address_of_another_machine_is_one_line(host: str) -> None:
    with pytest.raises(UserError, match=f"--host {host} is no address of this machine"):
        main(["--host", host, "--port", "0"])


@pytest.mark.parametrize("host", ["..", "x" * 300, "a..b"])
def test_a_name_that_no_machine_can_have_is_one_line(host: str) -> None:
    with pytest.raises(UserError, match=rf"^--host {re.escape(host[:80])} is no name of a machine \(.*\); leave it out$"):
        main(["--host", host, "--port", "0"])


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "python_multipart"])
def test_a_missing_package_is_one_line(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'lit_inpaint\[app\]'"):
        main(["--port", "0"])


def test_a_checkpoint_of_another_program_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "other.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"other\.ckpt"):
        main(["--port", "0", "--checkpoint", str(tmp_path / "other.ckpt")])


def test_the_command_offers_the_network_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[str] = []
    monkeypatch.setattr("lit_inpaint.app.server.build", lambda methods, limits, host: [method.key for method in methods])
    monkeypatch.setattr("lit_inpaint.app.server.serve", lambda keys, socket: served.extend(keys))
    assert main(["--port", "0"]) == 0
    assert served[:3] == ["shipped", "mean", "telea"]
    assert re.fullmatch(r"Open http://127\.0\.0\.1:\d+ in a browser; Ctrl-C ends the page\n", capsys.readouterr().out)
    assert main(["--port", "0", "--host", "0.0.0.0"]) == 0
    assert "asks for no password" in capsys.readouterr().err


def test_a_checkpoint_is_selected_in_place_of_the_network_of_the_package(checkpoint: Path) -> None:
    methods = load_methods([str(checkpoint)])
    assert [method.key for method in methods if method.selected] == ["checkpoint1"]
    assert methods[0].key == "shipped"
    assert methods[1].label == "LPINet"
    assert not any(method.takes_edges for method in methods)
    with pytest.raises(UserError, match="twice"):
        load_methods([str(checkpoint)] * 2)
