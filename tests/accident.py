"""`fit` with an accident: `ACCIDENT=<what>:<step>:<rank> python tests/accident.py <what fit takes>`, for runs of several processes.

When `step` batches are counted, on process `rank`: `training`, `validation` or `loading` sends this process SIGTERM while it
trains, validates or sets up its data; `group` sends it to every process of the run, loader workers included; `nan` spoils the
process's batch.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from lit_inpaint import cli, fit
from lit_inpaint.data import InpaintingData
from lit_inpaint.engine import Inpainter

HOOKS = {
    "training": (Inpainter, "training_step"),
    "group": (Inpainter, "training_step"),
    "nan": (Inpainter, "training_step"),
    "validation": (Inpainter, "validation_step"),
    "loading": (InpaintingData, "train_dataloader"),
}


def prepare(what: str, step: int, rank: int) -> None:
    """Put the accident in the way of the run."""
    owner, hook = HOOKS[what]
    original = getattr(owner, hook)

    def with_accident(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (self.trainer.global_step, self.trainer.global_rank) == (step, rank):
            if what == "nan":
                args[0]["image"].fill_(float("nan"))
            elif what == "group":
                os.killpg(0, signal.SIGTERM)
            else:
                os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args, **kwargs)

    setattr(owner, hook, with_accident)


if __name__ == "__main__":
    if "ACCIDENT" in os.environ:
        kind, when, where = os.environ["ACCIDENT"].split(":")
        prepare(kind, int(when), int(where))
    cli.run_verb(fit.main)
