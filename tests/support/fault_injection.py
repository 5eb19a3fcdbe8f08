"""Run `fit` with `TinyGAN` and inject a fault: `FAULT=<kind>:<step>:<rank> python tests/support/fault_injection.py <options>`.

The fault occurs when `step` batches are counted, in the process of `rank` (-1: in each). Its kinds are:

    training, validation, loading   SIGTERM to this process in a training step, in a validation step, in the setup of the data
    slow                            as `training`, with a W&B run that takes six seconds to finish
    group                           SIGTERM to every process of the run, loader workers included
    warned, warned_validating       SIGUSR1 in a training step, in a validation step
    nan                             NaN in the images of the batch
    asleep                          endless sleep in the training step
    stuck                           the same while holding the interpreter's lock
    starved                         endless wait for a sample
    lost                            SIGSTOP, as if the machine were gone

With DELAY=<batches> in the environment, all processes read their numbers so many batches later, as on GPUs.
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
from lit_inpaint.engine.delayed_max import DelayedMax
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


def inject(kind: str, step: int, rank: int) -> None:
    """Replace a method by one that injects the fault."""
    owner, hook = HOOKS[kind]
    original, happened = getattr(owner, hook), []

    def starve(self: Any, *args: Any, **kwargs: Any) -> Any:
        happened.append(kind)
        if len(happened) > step and int(os.environ.get("LOCAL_RANK", "0")) == rank:
            time.sleep(1000)
        return original(self, *args, **kwargs)

    def with_fault(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.trainer.global_step == step and rank in (self.trainer.global_rank, -1) and not happened:
            happened.append(kind)  # once
            if kind == "asleep":
                time.sleep(1000)
            elif kind == "stuck":
                time.sleep(1)  # so that its heartbeat thread has written once
                ctypes.PyDLL(None).sleep(1000)
            elif kind == "lost":
                time.sleep(1)
                os.kill(os.getpid(), signal.SIGSTOP)
            elif kind.startswith("warned"):
                os.kill(os.getpid(), signal.SIGUSR1)
            elif kind == "nan":
                args[0]["image"].fill_(float("nan"))
            elif kind == "group":
                os.killpg(0, signal.SIGTERM)
            else:
                os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args, **kwargs)

    setattr(owner, hook, starve if kind == "starved" else with_fault)
    if kind == "slow" and os.environ.get("LOCAL_RANK", "0") == "0":
        setattr(RunTrainer, "finish_loggers", lambda *_: time.sleep(6))  # noqa: B010  longer than the interval of Lightning's process monitor


def register_tiny_gan() -> None:
    """Make `TinyGAN` a paper of the package, because a checkpoint may name no other."""
    setattr(tiny_gan.TinyGAN, "__module__", "lit_inpaint.papers.tiny_gan")  # noqa: B010
    sys.modules["lit_inpaint.papers.tiny_gan"] = tiny_gan


if __name__ == "__main__":
    register_tiny_gan()
    if "DELAY" in os.environ:
        create = DelayedMax.__init__
        setattr(DelayedMax, "__init__", lambda self, delay=None: create(self, int(os.environ["DELAY"])))  # noqa: B010
    if "FAULT" in os.environ:
        kind, step, rank = os.environ["FAULT"].split(":")
        inject(kind, int(step), int(rank))
    entry_point.run_command(fit.main)
