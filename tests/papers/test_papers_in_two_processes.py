"""The papers with several networks or stages in two processes: the result equals that of one process with whole batches.

DeepFill v1's gradient penalty draws points between images, and GLCIC places of crops. These differ between one process and two,
so the test replaces both by constants. EdgeConnect divides its L1 loss by the mean mask of a process, here that of the batch.
Batch norm is synchronized, as `fit` does by default.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import tiny_pair
import torch
from golden import CURVES, fit_masks
from tiny_gan import loader, make_batches, make_trainer
from torch import Tensor

from lit_inpaint.engine.sync_batchnorm import SyncBatchNorm

PAPERS = ("context_encoder", "deepfill_v1", "deepfill_v2", "edgeconnect", "glcic", "lama")
NO_VGG = {"perceptual": 0.0, "style": 0.0}


def fit(name: str, world: int) -> dict[str, Tensor]:
    """Train a paper for two batches in each stage; return its weights and buffers."""
    stages = tuple(replace(stage, iterations=2, epochs=None) for stage in CURVES[name]().stages())
    if name == "edgeconnect":
        stages = tuple(replace(stage, weights={**stage.weights, **NO_VGG}) for stage in stages)
    torch.manual_seed(0)
    model = CURVES[name](stages=stages)
    steps = 2 * len(stages)
    trainer = make_trainer(
        steps,
        devices=world,
        precision="64-true",
        plugins=[SyncBatchNorm()],
        use_distributed_sampler=False,
        limit_val_batches=0,
    )
    batches = [fit_masks(name, batch) for batch in make_batches(steps, size=32, samples=4)]
    with mock.patch.object(torch, "rand", halves):
        trainer.fit(model, loader(tiny_pair.samples_of_rank(batches, trainer.global_rank, world)))
    return model.state_dict()


def halves(*size: Any, **options: Any) -> Tensor:
    options.pop("generator", None)
    return torch.full(torch.empty(*size, device="meta").shape, 0.5, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of both processes; all papers train in one pair of processes."""
    folder, paths = tmp_path_factory.mktemp("pair"), [str(Path(tiny_pair.__file__).parent), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        tiny_pair.run_pair(folder, __file__)
    return folder


@pytest.mark.parametrize("name", PAPERS)
def test_two_processes_learn_the_same_as_one(name: str, folder: Path) -> None:
    first, second = (torch.load(folder / f"{name}.{rank}.pt", weights_only=True) for rank in (0, 1))
    assert tiny_pair.difference(first, second) == 0
    one = fit(name, 1)
    assert tiny_pair.difference(first, one) < 1e-9
    torch.manual_seed(0)
    assert tiny_pair.difference(one, CURVES[name]().double().state_dict()) > 1e-6, "nothing was trained"


if __name__ == "__main__":
    for paper in PAPERS:
        torch.save(fit(paper, 2), Path(sys.argv[1]) / f"{paper}.{os.environ['LOCAL_RANK']}.pt")
    torch.distributed.destroy_process_group()
