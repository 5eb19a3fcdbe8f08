"""`--init_from`: a new run starts from the weights of another run and takes nothing else from it."""

import math
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import forked
import pytest
import torch
import yaml
from tiny_gan import TinyGAN, loader, make_batches, make_trainer
from tiny_runs import TINY, Killed, assert_same, assert_same_run, at, content, kill, run
from torch import Tensor

from lit_inpaint import fit
from lit_inpaint.callbacks import GeneratorEMA
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.papers import LPINet

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SHORT = ("--trainer.max_steps", "3", "--trainer.val_check_interval", "3", "--seed", "5")

State = dict[str, Tensor]


@dataclass
class Start:
    """State of a run just before its first batch."""

    weights: State = field(default_factory=dict)
    ema: State = field(default_factory=dict)
    optimizers: list[Any] = field(default_factory=list)
    step: int = -1
    updates: int = -1
    seed: int = -1
    channels_last: bool = False


@contextmanager
def stopped_at_the_start() -> Iterator[Start]:
    start = Start()

    def spy(self: Inpainter, *args: Any) -> None:
        trainer: Any = self.trainer
        start.weights = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        for callback in (c for c in trainer.callbacks if isinstance(c, GeneratorEMA)):
            start.ema = {f"generator.{name}": tensor.clone() for name, tensor in callback.weights.items()}
            start.updates = callback.updates
        start.optimizers = [dict(optimizer.state) for optimizer in trainer.optimizers]
        start.step, start.seed = trainer.global_step, self.seed
        deep = [p for p in self.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
        start.channels_last = all(p.is_contiguous(memory_format=torch.channels_last) for p in deep)
        raise Killed

    with mock.patch.object(Inpainter, "training_step", spy), pytest.raises(Killed):
        yield start


def started(folder: Path, *options: str) -> Start:
    with stopped_at_the_start() as start:
        run(folder, *options)
    return start


@pytest.fixture(scope="module")
def with_ema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of LPI-Net with EMA weights, under another seed than the runs that start from it."""
    folder = tmp_path_factory.mktemp("with_ema") / "run"
    assert run(folder, *SHORT) == 0
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of LPI-Large without EMA weights."""
    folder = tmp_path_factory.mktemp("large") / "run"
    assert run(folder, *SHORT, "--model.blocks", "4", "--ema", "null") == 0
    return folder


def last(folder: Path) -> str:
    return str(folder / "checkpoints" / "last.ckpt")


def weights_of(folder: Path) -> State:
    """Return the weights that `--init_from` should take from a run."""
    saved = content(folder)
    ema = saved["callbacks"].get("GeneratorEMA", {"weights": {}})["weights"]
    return {**saved["state_dict"], **{f"generator.{name}": tensor for name, tensor in ema.items()}}


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the printed lines about the matched tensors."""
    lines = capsys.readouterr().out.splitlines()
    first = [number for number, line in enumerate(lines) if line.startswith("Initialized from ")]
    if not first:
        return []
    (number,) = first
    return [lines[number], *(line for line in lines[number + 1 :] if re.match(r"  (missing|in the file|other)", line))]


def size(state: State, names: set[str]) -> int:
    return sum(math.prod(state[name].shape) for name in names)


# Matching tensors ------------------------------------------------------------------------------------------------------------


def test_the_first_batch_uses_the_weights_of_the_file(
    with_ema: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = started(tmp_path / "run", "--init_from", last(with_ema))
    expected, raw = weights_of(with_ema), content(with_ema)["state_dict"]
    assert_same(start.weights, dict(expected))
    assert not torch.equal(
        expected["generator.to_rgb.weight"], raw["generator.to_rgb.weight"]
    )  # EMA weights are not the raw weights
    values = size(expected, set(expected)) / 1e6
    assert printed(capsys) == [
        f"Initialized from {last(with_ema)} (LPINet, step 3, the generator's EMA): "
        f"{len(expected)} of {len(expected)} tensors matched, {values:.3g} of {values:.3g} million values"
    ]


def test_nothing_but_weights_is_taken(with_ema: Path, tmp_path: Path) -> None:
    before = content(with_ema)
    assert before["global_step"] == 3
    assert all(state["state"] for state in before["optimizer_states"])
    start = started(tmp_path / "run", "--init_from", last(with_ema))
    assert (start.step, start.updates, start.seed) == (0, 0, 0)
    assert len(start.optimizers) >= 2
    assert not any(start.optimizers)
    assert before["lit_inpaint"]["seed"] == 5


def test_the_ema_of_the_new_run_starts_from_them(with_ema: Path, tmp_path: Path) -> None:
    start = started(tmp_path / "run", "--init_from", last(with_ema))
    assert start.channels_last
    assert_same(start.ema, {name: tensor for name, tensor in start.weights.items() if name.startswith("generator.")})


def test_raw_weights_where_the_file_has_no_ema(large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = started(tmp_path / "run", "--model.blocks", "4", "--init_from", last(large))
    assert_same(start.weights, dict(content(large)["state_dict"]))
    assert "(LPINet, step 3): " in printed(capsys)[0]


def test_into_a_larger_network(with_ema: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = started(tmp_path / "run", "--model.blocks", "4", "--init_from", last(with_ema))
    first, missing = printed(capsys)
    fresh = started(tmp_path / "fresh", "--model.blocks", "4")
    there = weights_of(with_ema)
    common = {name for name in there.keys() & fresh.weights.keys() if there[name].shape == fresh.weights[name].shape}
    rest = fresh.weights.keys() - common
    assert len(common) > 50
    assert len(rest) > 50
    assert_same(start.weights, {name: (there if name in common else fresh.weights)[name] for name in start.weights})
    figures = f"{len(common)} of {len(fresh.weights)} tensors matched, "
    figures += f"{size(there, common) / 1e6:.3g} of {size(fresh.weights, set(fresh.weights)) / 1e6:.3g} million values"
    assert first.endswith(figures)
    assert missing.startswith(f"  missing in the file, left as initialized ({len(rest)}): generator.stages.0.* (")
    assert sum(int(count) for count in re.findall(r"\* \((\d+)\)", missing)) == len(rest)
    assert len(missing) < 250


def test_into_a_smaller_network(large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = started(tmp_path / "run", "--init_from", last(large))
    there = content(large)["state_dict"]
    assert_same(start.weights, {name: there[name] for name in start.weights})
    first, idle = printed(capsys)
    assert f"{len(start.weights)} of {len(start.weights)} tensors matched" in first
    assert idle.startswith(f"  in the file but not in this model ({len(there) - len(start.weights)}): generator.stages.0.* (")


def test_other_names_and_shapes_of_another_paper(large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = content(large)
    saved["lit_inpaint"]["paper"] = "lit_inpaint.papers.elsewhere.Elsewhere"
    state = saved["state_dict"]
    wide = [
        "generator.to_rgb.bias",
        *[name for name in state if name.startswith("generator.steps.") and name.endswith("weight")],
    ]
    for name in wide:
        state[name] = state[name].repeat(2, *[1] * (state[name].ndim - 1))
    state["encoder.conv.weight"] = state.pop("generator.to_rgb.weight")
    state["count"] = torch.tensor(3)
    torch.save(saved, tmp_path / "other.ckpt")

    options = ("--model.blocks", "4", "--init_from", str(tmp_path / "other.ckpt"))
    start, fresh = started(tmp_path / "run", *options), started(tmp_path / "fresh", "--model.blocks", "4")
    left = {*wide, "generator.to_rgb.weight"}
    assert_same(start.weights, {name: (fresh.weights if name in left else state)[name] for name in start.weights})
    first, missing, idle, shapes = printed(capsys)
    assert f"(Elsewhere, step 3): {len(fresh.weights) - len(left)} of {len(fresh.weights)} tensors matched" in first
    assert missing == "  missing in the file, left as initialized (1): generator.to_rgb.weight"
    assert idle == "  in the file but not in this model (2): encoder.conv.weight, count"
    assert len(wide) > 4
    name = wide[1]
    here = tuple(fresh.weights[name].shape)
    first_of_them = f"{name} {(2 * here[0], *here[1:])} in the file, {here} here; generator.steps."
    assert shapes.startswith(f"  other shape, left as initialized ({len(wide)}): {first_of_them}")
    assert shapes.endswith(f" here; and {len(wide) - 3} more")


def test_nothing_matches(tmp_path: Path) -> None:
    trainer = make_trainer(1)
    trainer.fit(TinyGAN(), loader(make_batches(1)))
    trainer.save_checkpoint(tmp_path / "tiny.ckpt")
    with pytest.raises(UserError) as raised:
        run(tmp_path / "run", "--init_from", str(tmp_path / "tiny.ckpt"))
    assert str(raised.value) == (
        f"init_from: no tensor of {tmp_path / 'tiny.ckpt'}, which holds TinyGAN, has the name and shape of one of this LPINet"
    )
    assert not (tmp_path / "run").exists()


# Forms of the option ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(with_ema: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a checkpoint and an experiment that names it."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "experiments").symlink_to(EXPERIMENTS)
    shutil.copy(last(with_ema), work / "start.ckpt")
    (work / "tuned.yaml").write_text("base: experiments/lpi_demo.yaml\ninit_from: start.ckpt\n")
    monkeypatch.chdir(work)
    return work


@pytest.mark.parametrize(
    "options",
    [
        ["--init_from", "start.ckpt"],
        ["--init-from", "start.ckpt"],
        ["--init-from=start.ckpt"],
        ["--init_from=./experiments/../start.ckpt", "--init_from", "start.ckpt"],
        ["--experiment", "tuned.yaml"],
    ],
)
def test_forms_of_the_option(options: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit.main([*TINY, *options, "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["init_from"] == str(place / "start.ckpt")


@pytest.mark.parametrize("options", [[], ["--init_from", "start.ckpt", "--init_from", "null"], ["--init-from=null"]])
def test_forms_that_disable_it(options: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = ["--experiment", "tuned.yaml"] if options else []
    assert fit.main([*TINY, *experiment, *options, "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["init_from"] is None


def test_a_path_in_the_home_directory(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HOME", str(place))
    assert fit.main([*TINY, "--init_from=~/start.ckpt", "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["init_from"] == str(place / "start.ckpt")


def test_a_replay_from_another_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = started(Path("run"), "--init_from", "start.ckpt")
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    with stopped_at_the_start() as again:
        fit.main(["--config", "../run/config.yaml", "--run_dir", "again"])
    assert_same(again.weights, first.weights)
    assert (place / "run/config.yaml").read_text() == Path("again/config.yaml").read_text()


# Resuming --------------------------------------------------------------------------------------------------------------------


def test_resuming_needs_no_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--init_from",
        "start.ckpt",
        "--checkpoint_every",
        "1",
        "--trainer.max_steps",
        "4",
        "--trainer.val_check_interval",
        "2",
    )
    assert run(place / "uninterrupted", *options) == 0
    assert len(printed(capsys)) == 1
    with at(3, "training_step", kill), pytest.raises(Killed):
        run(place / "run", *options)
    capsys.readouterr()
    (place / "start.ckpt").unlink()
    assert run(place / "run", *options) == 0
    assert printed(capsys) == []
    assert_same_run(place / "run", place / "uninterrupted")
    assert run(place / "run", *options) == 0
    assert "is complete" in capsys.readouterr().out


def test_resume_must_with_the_configuration_of_the_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The remedy in the error message of `--init_from … --resume must`."""
    with at(2, "training_step", kill), pytest.raises(Killed):
        run(Path("run"), "--init_from", "start.ckpt", "--checkpoint_every", "1")
    capsys.readouterr()
    command = ["--config", "run/config.yaml", "--run_dir", "run", "--resume", "must", "--trainer.max_steps", "3"]
    assert fit.main(command) == 0
    assert "resumed at step 2" in capsys.readouterr().out


@pytest.mark.parametrize("change", [[], ["--init_from", "other.ckpt"]])
def test_other_initial_weights_are_another_run(change: list[str], place: Path) -> None:
    with at(1, "training_step", kill), pytest.raises(Killed):
        run(Path("run"), "--init_from", "start.ckpt", "--checkpoint_every", "1")
    with pytest.raises(UserError, match=r"the run in run was started with other settings \(init_from: .*start\.ckpt -> "):
        run(Path("run"), *change)


def test_two_processes(with_ema: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--run_dir", str(folder), "--data.batch_size", "1"]
    options += ["--trainer.max_steps", "1", "--ema", "null", "--trainer.val_check_interval", "100"]
    options += ["--model.generator_optimizer.lr", "1e-12", "--model.discriminator_optimizer.lr", "1e-12"]
    command = ["-m", "lit_inpaint.fit", *TINY, *options, "--init_from", last(with_ema)]
    done = forked.run(command, processes=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Initialized from ") == 1
    expected, found = weights_of(with_ema), content(folder)["state_dict"]
    for name, _ in LPINet().named_parameters():  # spectral norm's buffers change with every batch
        torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=1e-6)
