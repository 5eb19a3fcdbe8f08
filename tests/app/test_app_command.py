from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from page_client import Client

from lit_inpaint.app.__main__ import main
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


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "python_multipart"])
def test_a_missing_package_is_one_line(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'lit_inpaint\[app\]'"):
        main(["--port", "0"])


def test_a_checkpoint_of_another_program_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "other.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"other\.ckpt"):
        main(["--port", "0", "--checkpoint", str(tmp_path / "other.ckpt")])


def test_the_command_serves_and_ends_with_the_interrupt() -> None:
    command = [sys.executable, "-m", "lit_inpaint.app", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Open http://127.0.0.1:"), line or process.communicate()[1]
        client, start = Client(line.split()[1]), time.monotonic()
        while True:
            try:
                settings = client.request("GET", "/settings").body
                break
            except OSError:
                assert time.monotonic() < start + 30
        assert b'"label":"Network of the package (' in settings
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1].strip() in ("", "interrupted")
        assert process.returncode in (0, 130)
    finally:
        process.kill()
        process.wait()
