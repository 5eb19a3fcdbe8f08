"""`fit` of `TinyGAN`, also with an accident: `ACCIDENT=<what>:<step>:<rank> python tests/accident.py <what fit takes>`.

When `step` batches are counted, on process `rank`: `training`, `validation` or `loading` sends this process SIGTERM while it
trains, validates or sets up its data; `slow` is `training` on a machine that takes six seconds to end its W&B run; `group`
sends it to every process of the run, loader workers included; `nan` spoils the process's batch.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import tiny_gan

from lit_inpaint import callbacks, cli, fit
from lit_inpaint.data import InpaintingData
from lit_inpaint.engine import Inpainter

HOOKS = {
    "training": (Inpainter, "training_step"),
    "slow": (Inpainter, "training_step"),
    "group": (Inpainter, "training_step"),
    "nan": (Inpainter, "training_step"),
    "validation": (Inpainter, "validation_step"),
    "loading": (InpaintingData, "train_dataloader"),
}


def prepare(what: str, step: int, rank: int) -> None:
    """Put the accident in the way of the run."""
    owner, hook = HOOKS[what]
    original, happened = getattr(owner, hook), []

    def with_accident(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (self.trainer.global_step, self.trainer.global_rank) == (step, rank) and not happened:
            happened.append(what)  # a second signal means now
            if what == "nan":
                args[0]["image"].fill_(float("nan"))
            elif what == "group":
                os.killpg(0, signal.SIGTERM)
            else:
                os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args, **kwargs)

    setattr(owner, hook, with_accident)
    if what == "slow" and os.environ.get("LOCAL_RANK", "0") == "0":
        setattr(callbacks, "finish", lambda *_: time.sleep(6))  # noqa: B010  longer than Lightning's watch sleeps


def adopt() -> None:
    """Have `TinyGAN` be a paper of the package, as no other may stand in a checkpoint."""
    setattr(tiny_gan.TinyGAN, "__module__", "lit_inpaint.papers.tiny_gan")  # noqa: B010
    sys.modules["lit_inpaint.papers.tiny_gan"] = tiny_gan


if __name__ == "__main__":
    adopt()
    if "ACCIDENT" in os.environ:
        kind, when, where = os.environ["ACCIDENT"].split(":")
        prepare(kind, int(when), int(where))
    cli.run_verb(fit.main)
