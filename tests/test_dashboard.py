"""The W&B workspace: its panels show the keys that runs log."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from fake_wandb import FakeWandb
from tiny_runs import run
from wandb_files import configuration, files, history

from lit_inpaint import dashboard
from lit_inpaint.errors import UserError
from lit_inpaint.reporting import wandb_workspace


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """Keys of the rows, and of the configuration, of an adversarial run."""
    folder = tmp_path_factory.mktemp("logged") / "run"
    options = ["--wandb.mode", "offline", "--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    masks = [mask_ratio(tenth) for tenth in range(1, 5)]
    schedule = "{class_path: lit_inpaint.schedules.Linear, init_args: {start: 1.0}}"
    assert run(folder, *options, "--data.val_masks", json.dumps(masks), "--model.weights.adversarial", schedule) == 0
    (file,) = files(folder)
    keys = {key.removesuffix("/filenames") for row in history(file) for key in row}
    return keys, set(configuration(file))


def mask_ratio(tenth: int) -> dict[str, Any]:
    source = {"class_path": "lit_inpaint.masks.FreeForm"}
    arguments = {"source": source, "low": tenth / 10, "high": (tenth + 1) / 10}
    return {"class_path": "lit_inpaint.masks.MaskRatio", "init_args": arguments}


def panels(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for section in content["spec"]["section"]["panelBankConfig"]["sections"]:
        yield from section["panels"]


def workspace_json(*options: str) -> dict[str, Any]:
    assert dashboard.main(list(options)) == 0
    content: dict[str, Any] = json.loads(Path("dashboard.json").read_text())
    return content


def test_panels_show_all_logged_keys(logged: tuple[set[str], set[str]]) -> None:
    keys, settings = logged
    shown = set()
    for panel in panels(workspace_json()):
        config = panel["config"]
        named = {*config.get("metrics", ()), *config.get("mediaKeys", ())}
        named |= {config[axis].removeprefix("summary:") for axis in ("xAxis", "yAxis") if axis in config}
        if pattern := config.get("metricRegex"):
            named |= {key for key in keys if re.search(pattern, key)}
        assert named or panel["viewType"] == "Run Comparer", panel
        assert named <= keys, named - keys
        shown |= named
    assert keys - shown <= {"train/stage", "_step", "_runtime", "_timestamp", "_wandb"} | {
        key for key in keys if key.startswith(("val/samples/", "_"))
    }, "logged but not on any panel"
    for column in wandb_workspace.build_workspace("", "", "p").runset_settings.pinned_columns:
        kind, _, name = column.partition(":")
        assert kind == "run" or name in (keys if kind == "summary" else settings), column


def test_patterns_match_loss_terms_and_weights(logged: tuple[set[str], set[str]]) -> None:
    keys, _ = logged
    assert {key for key in keys if re.search(wandb_workspace.TERMS, key)} == {
        f"train/{term}" for term in ("l1", "adversarial", "real", "fake")
    }
    assert {key for key in keys if re.search(wandb_workspace.WEIGHTS, key)} == {"train/weight_adversarial"}


def test_without_a_key_a_file_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    content = workspace_json("--project", "faces", "--entity", "us", "--name", "Ours")
    assert (content["project"], content["entity"], content["displayName"]) == ("faces", "us", "Ours")
    settings = content["spec"]["section"]["settings"]
    assert (settings["xAxis"], settings["xAxisActive"]) == ("trainer/global_step", True)
    printed = capsys.readouterr().out
    assert "panels in dashboard.json" in printed
    assert "No W&B key is known here; to save it on W&B: wandb login" in printed
    assert dashboard.main(["--output", "below/other.json"]) == 0
    assert Path("below/other.json").is_file()


def test_with_a_key_the_workspace_is_saved(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeWandb() as server:
        wandb.teardown()
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
        assert dashboard.main(["--project", "faces"]) == 0
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("tester", "faces", "Inpainting")
    assert len(view["spec"]["section"]["panelBankConfig"]["sections"]) == len(wandb_workspace.build_sections())
    assert "/tester/faces" in capsys.readouterr().out
    assert not Path("dashboard.json").exists()


def test_mistakes_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"must end with \.json"):
        dashboard.main(["--output", "page.html"])
    wandb.teardown()
    monkeypatch.setattr(dashboard, "_TIMEOUT_S", 1)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="no answer from W&B"):
        dashboard.main([])
