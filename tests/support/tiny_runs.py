"""Small runs of `fit` that tests interrupt, resume and compare."""

import csv
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from lit_inpaint import fit
from lit_inpaint.engine.inpainter import Inpainter

TINY = ["--experiment", "lpi_demo", "--wandb.mode", "disabled", "--baselines", "false", "--num_samples", "1"]
TINY += [
    "--data.size",
    "32",
    "--data.batch_size",
    "2",
    "--data.val_crops",
    "1",
    "--data.repeat",
    "1",
    "--checkpoint_every",
    "1000",
]
TINY += ["--data.val_masks", "[{class_path: lit_inpaint.masks.Center}]", "--trainer.enable_progress_bar", "false"]
TINY += ["--trainer.max_steps", "8", "--trainer.val_check_interval", "4", "--trainer.log_every_n_steps", "1"]
"""Options of a run with three batches per epoch (7 images by 2, none dropped) and one per validation."""


SMALL = ("--model", "{class_path: tiny_gan.TinyGAN}")
"""A paper of a few hundred parameters in place of LPI-Net: a quarter of the time, and checkpoints of 10 KB, not 30 MB."""


def run(folder: Path, *options: str) -> int:
    """Run `fit` in this process with the options `TINY` and `options`."""
    return fit.main([*TINY, "--run_dir", str(folder), *options])


def run_small(folder: Path, *options: str) -> int:
    """Run `fit` in this process with the options `TINY`, the paper of `SMALL` and `options`."""
    return run(folder, *SMALL, *options)


class Killed(BaseException):
    """Stands for a kill: no code of the package handles it, so only the files on disk remain."""


@contextmanager
def at(step: int, hook: str, action: Callable[[], None]) -> Iterator[None]:
    """Run `action` when the paper's `hook` is called at `step`."""
    original: Any = getattr(Inpainter, hook)

    def spy(self: Inpainter, *args: Any, **kwargs: Any) -> Any:
        if self.trainer.global_step == step:
            action()
        return original(self, *args, **kwargs)

    with mock.patch.object(Inpainter, hook, spy):
        yield


def kill() -> None:
    raise Killed


def run_killed(folder: Path, step: int, hook: str, *options: str) -> None:
    """Train until the paper's `hook` is called at `step`, and kill the run there."""
    with at(step, hook, kill), pytest.raises(Killed):
        run(folder, *options)


def run_small_killed(folder: Path, step: int, hook: str, *options: str) -> None:
    """Do as `run_killed`, with the paper of `SMALL`."""
    run_killed(folder, step, hook, *SMALL, *options)


def signalling(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def rows(folder: Path) -> list[dict[str, str]]:
    """Read `metrics.csv` without the speed, the only column that the settings do not determine."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if v and k != "train/images_per_second"} for row in csv.DictReader(file)]


def steps_logged(folder: Path) -> int:
    """Return the newest step in `metrics.csv`, 0 where there is none."""
    return max((int(row["step"]) for row in rows(folder)), default=0) if (folder / "metrics.csv").exists() else 0


def content(folder: Path, name: str = "last") -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return loaded


def assert_same(one: object, other: object, place: str = "") -> None:
    """Compare nested data bit for bit."""
    assert type(one) is type(other), place
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        assert len(one) == len(other), place
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{place}[{number}]")
    else:
        assert one == other, place


def assert_same_run(one: Path, other: Path) -> None:
    """Compare everything in two run directories that the settings determine."""
    for name in ("last", "best"):
        first, second = content(one, name), content(other, name)
        for key in ("state_dict", "optimizer_states", "callbacks", "global_step"):
            assert_same(first[key], second[key], f"{name}.{key}")
    assert rows(one) == rows(other)
    assert (one / "final_evaluation.json").read_text() == (other / "final_evaluation.json").read_text()
    assert sorted(p.name for p in (one / "samples").iterdir()) == sorted(p.name for p in (other / "samples").iterdir())
