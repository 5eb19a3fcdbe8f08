"""What is recorded of the checkout that a run starts from."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lit_inpaint.runs import environment_snapshot


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_state_of_a_checkout_is_read_without_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    file = tmp_path / "__init__.py"
    file.write_text("1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(environment_snapshot, "__file__", str(tmp_path / "module.py"))
    os.utime(file, (0, 0))  # so that `git status` would like to write the index
    index = (tmp_path / ".git" / "index").read_bytes()
    assert environment_snapshot.git_state() == {"commit": git("rev-parse", "HEAD"), "modified": 0}
    assert (tmp_path / ".git" / "index").read_bytes() == index
    file.write_text("2\n")
    assert environment_snapshot.git_state()["modified"] == 1
