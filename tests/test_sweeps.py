"""Sweeps: `wandb sweep` accepts them, and the command lines that `wandb agent` builds from them start `fit`."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from fake_wandb import FakeWandb
from wandb import wandb_agent

from lit_inpaint import fit
from lit_inpaint.config import check_settings, load_yaml
from lit_inpaint.config.load_yaml import find_experiment
from lit_inpaint.errors import UserError

FOLDER = Path(__file__).parents[1] / "experiments" / "sweeps"
SWEEPS = sorted(FOLDER.glob("*.yaml"))
each_sweep = pytest.mark.parametrize("path", SWEEPS, ids=lambda path: str(path.stem))


def settings_of_two_runs(path: Path) -> list[dict[str, Any]]:
    """The settings of two runs: the first or smallest value of each parameter, and the last or largest."""
    parameters = yaml.safe_load(path.read_text())["parameters"]
    ends = {
        name: (entry["values"][0], entry["values"][-1]) if "values" in entry else (entry["min"], entry["max"])
        for name, entry in parameters.items()
    }
    return [{name: both[end] for name, both in ends.items()} for end in (0, 1)]


def command(path: Path, settings: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line that an agent of this sweep runs for `settings`, which the W&B server sends."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    monkeypatch.setenv("WANDB_RUN_ID", "")  # the agent sets it
    sweep = yaml.safe_load(path.read_text())
    agent = wandb_agent.Agent.__new__(wandb_agent.Agent)
    agent._sweep_command, agent._function, agent._in_jupyter = list(sweep["command"]), None, False
    agent._run_processes, agent._forward_signals = {}, False
    message = {
        "args": {name: {"value": value} for name, value in settings.items()},
        "run_id": "r1",
        "program": sweep["program"],
    }
    with mock.patch.object(wandb_agent, "AgentProcess") as process:
        agent._command_run(message)
    words: list[str] = process.call_args.kwargs["command"]
    return words


def test_there_are_sweeps_and_none_is_an_experiment() -> None:
    assert len(SWEEPS) >= 2
    with pytest.raises(UserError, match="no experiment") as error:
        find_experiment("lpi_balanc")
    assert "sweeps/" not in str(error.value)


@each_sweep
def test_has_the_keys_of_a_sweep(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())
    known = {"program", "project", "name", "method", "metric", "run_cap", "early_terminate", "parameters", "command"}
    assert sweep.keys() <= known
    assert sweep["method"] in ("grid", "random", "bayes")
    assert sweep["metric"] == {"name": "val/psnr", "goal": "maximize"}
    for name, entry in sweep["parameters"].items():
        assert entry.keys() in ({"values"}, {"distribution", "min", "max"}), name
        assert "values" in entry or (entry["distribution"] == "log_uniform_values" and 0 < entry["min"] < entry["max"]), name
    assert path.read_text().startswith(f"# wandb sweep experiments/sweeps/{path.name} ")


@each_sweep
def test_fit_reads_the_agents_command_line(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for settings in settings_of_two_runs(path):
        words = command(path, settings, tmp_path, monkeypatch)
        assert words[:4] == ["/usr/bin/env", "python", "-m", "lit_inpaint.fit"]
        assert fit.main([*words[4:], "--print_config"]) == 0
        config = yaml.safe_load(capsys.readouterr().out)
        for name, value in settings.items():
            found = setting(config, name)
            expected = yaml.safe_load(value) if isinstance(value, str) else value
            if isinstance(expected, dict):  # several settings in one
                found = {key: found[key] for key in expected}
            assert found == expected, name


def setting(config: Any, name: str) -> Any:
    """The value of a dotted option name in a printed configuration."""
    for part in name.split("."):
        if "init_args" in config and part not in config:
            config = config["init_args"]
        config = config[part]
    return config


@pytest.mark.parametrize("data", ["celebahq", "ade20k"])
def test_deepgin_sweep_runs_the_full_network_and_its_six_ablations(data: str) -> None:
    """On CelebA-HQ each run equals the experiment of its row; on ADE20K only data and validation interval differ."""
    parameters = yaml.safe_load((FOLDER / "deepgin_ablations.yaml").read_text())["parameters"]
    assert f"deepgin_{data}" in parameters["experiment"]["values"]
    base = load_yaml.load_experiment(f"deepgin_{data}")
    rows = ("", "_spd_mssa", "_dilated_mssa", "_std_mssa", "_std_sa", "_std", "_coarse")
    for row, arguments in zip(rows, parameters["model.init_args"]["values"], strict=True):
        run = check_settings.check(load_yaml.override(base, [f"--model.init_args={arguments}"]))
        experiment = check_settings.check(load_yaml.load_experiment(f"deepgin_celebahq{row}"))
        assert run.model == experiment.model, row
        assert run.data == check_settings.check(base).data


def test_a_misspelt_parameter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = command(FOLDER / "lpi_balance.yaml", {"model.weights.adversaria": 0.1}, tmp_path, monkeypatch)
    with pytest.raises(UserError, match="adversaria"):
        fit.main([*words[4:], "--print_config"])


def test_sweep_and_agent_against_a_server(tmp_path: Path) -> None:
    """`wandb sweep` registers a sweep; `wandb agent` runs the settings that the server sends, under the server's run id."""
    sweep = yaml.safe_load((FOLDER / "lpi_balance.yaml").read_text())
    small = "--data.size 32 --data.batch_size 2 --data.val_crops 1 --data.repeat 1 --trainer.enable_progress_bar false "
    small += (
        "--trainer.max_steps 2 --trainer.val_check_interval 2 --trainer.log_every_n_steps 1 --run_dir run --baselines false"
    )
    masks = "--data.val_masks=[{class_path: lit_inpaint.masks.Center}]"
    sweep["command"][4:7] = ["--experiment=lpi_demo", *small.split(), masks]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    (tmp_path / "experiments").symlink_to(FOLDER.parent)
    wandb = str(Path(sys.executable).with_name("wandb"))
    with FakeWandb() as server:
        server.orders = [{"model.weights.adversarial": 0.5, "model.generator_optimizer.lr": 3e-05}]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        environment |= {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40, "OMP_NUM_THREADS": "1"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the agent's `python`

        def run_wandb(*words: str) -> str:
            done = subprocess.run([wandb, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, done.stderr
            return done.stdout + done.stderr

        printed = run_wandb("sweep", "sweep.yaml")
        (registered,) = server.sweeps.values()
        assert registered["parameters"] == sweep["parameters"]
        (line,) = [line for line in printed.splitlines() if "wandb agent" in line]
        output = run_wandb(*shlex.split(line.partition("wandb agent ")[2].join(["agent --count 1 ", ""])))
    assert server.runs, output
    ((run_id, uploaded),) = server.runs.items()
    assert run_id == "ordered0"
    assert (tmp_path / "run" / "wandb" / "run_id.txt").read_text() == "ordered0\n"
    weights = uploaded.config["model"]["init_args"]["weights"]
    assert weights["adversarial"] == 0.5
    assert uploaded.config["model"]["init_args"]["generator_optimizer"]["init_args"]["lr"] == 3e-05
    assert "val/psnr" in uploaded.summary
    assert json.loads(json.dumps(uploaded.description))["sweep"] == "sweep0"


def test_fit_refuses_a_sweep() -> None:
    with pytest.raises(UserError, match="is a sweep; start it with `wandb sweep "):
        load_yaml.load_experiment(str(SWEEPS[0]))
