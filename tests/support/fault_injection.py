"""`fit` of `TinyGAN`, also with an accident: `ACCIDENT=<what>:<step>:<rank> python tests/accident.py <what fit takes>`.

When `step` batches are counted, on process `rank` (-1: on each): `training`, `validation` or `loading` sends this process
SIGTERM while it trains, validates or sets up its data, `warned` and `warned_validating` send SIGUSR1; `slow` is `training` on a
machine that takes six seconds to end its W&B run; `group` sends SIGTERM to every process of the run, loader workers included;
`nan` spoils the process's batch. `asleep` sleeps for ever in the training step, `stuck` does so with the interpreter's lock,
`starved` waits for ever for a sample; `lost` stops the process as if its machine were gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import Any

import tiny_gan

from lit_inpaint import fit
from lit_inpaint.config import entry_point
from lit_inpaint.data import InpaintingData
from lit_inpaint.data.inpainting_dataset import TrainDataset
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.runs.build_trainer import RunTrainer

HOOKS = {
    "training": (Inpainter, "training_step"),
    "slow": (Inpainter, "training_step"),
    "group": (Inpainter, "training_step"),
    "nan": (Inpainter, "training_step"),
    "warned": (Inpainter, "training_step"),
    "asleep": (Inpainter, "training_step"),
    "stuck": (Inpainter, "training_step"),
    "lost": (Inpainter, "training_step"),
    "starved": (TrainDataset, "__getitem__"),
    "warned_validating": (Inpainter, "validation_step"),
    "validation": (Inpainter, "validation_step"),
    "loading": (InpaintingData, "train_dataloader"),
}


def prepare(what: str, step: int, rank: int) -> None:
    """Put the accident in the way of the run."""
    owner, hook = HOOKS[what]
    original, happened = getattr(owner, hook), []

    def starve(self: Any, *args: Any, **kwargs: Any) -> Any:
        happened.append(what)
        if len(happened) > step and int(os.environ.get("LOCAL_RANK", "0")) == rank:
            time.sleep(1000)
        return original(self, *args, **kwargs)

    def with_accident(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.trainer.global_step == step and rank in (self.trainer.global_rank, -1) and not happened:
            happened.append(what)  # once
            if what == "asleep":
                time.sleep(1000)
            elif what == "stuck":
                time.sleep(1)  # so that its thread has said something
                ctypes.PyDLL(None).sleep(1000)
            elif what == "lost":
                time.sleep(1)
                os.kill(os.getpid(), signal.SIGSTOP)
            elif what.startswith("warned"):
                os.kill(os.getpid(), signal.SIGUSR1)
            elif what == "nan":
                args[0]["image"].fill_(float("nan"))
            elif what == "group":
                os.killpg(0, signal.SIGTERM)
            else:
                os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args, **kwargs)

    setattr(owner, hook, starve if what == "starved" else with_accident)
    if what == "slow" and os.environ.get("LOCAL_RANK", "0") == "0":
        setattr(RunTrainer, "finish_loggers", lambda *_: time.sleep(6))  # noqa: B010  longer than Lightning's watch sleeps


def adopt() -> None:
    """Have `TinyGAN` be a paper of the package, as no other may stand in a checkpoint."""
    setattr(tiny_gan.TinyGAN, "__module__", "lit_inpaint.papers.tiny_gan")  # noqa: B010
    sys.modules["lit_inpaint.papers.tiny_gan"] = tiny_gan


if __name__ == "__main__":
    adopt()
    if "ACCIDENT" in os.environ:
        kind, when, where = os.environ["ACCIDENT"].split(":")
        prepare(kind, int(when), int(where))
    entry_point.run_command(fit.main)
