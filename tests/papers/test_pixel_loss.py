from pathlib import Path
from typing import Any

import pytest
import torch

from lit_inpaint import load, papers
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.papers.pixel_loss import PixelLoss
from lit_inpaint.types import Batch

NETWORKS: dict[str, dict[str, Any]] = {
    "PConv": {"levels": 3, "width": 8},
    "PEPSI": {"size": 32, "width": 4},
    "UNet": {"widths": [8, 12, 16]},
}


def network(name: str) -> dict[str, Any]:
    return {"class_path": f"lit_inpaint.papers.{name}", "init_args": NETWORKS[name]}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_of_the_generator_is_trained_and_the_output_is_the_papers(name: str, batch: Batch) -> None:
    torch.manual_seed(0)
    model = PixelLoss(network(name))
    prediction = model(batch["image"], batch["mask"])
    sum(model.generator_losses(batch, prediction).values()).backward()
    assert all(parameter.grad is not None for parameter in model.generator.parameters())
    torch.manual_seed(0)
    paper: Inpainter = getattr(papers, name)(**NETWORKS[name])
    count = sum(parameter.numel() for parameter in paper.generator.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    paper.load_state_dict(
        {key.removeprefix("generator.paper."): value for key, value in model.state_dict().items()}, strict=False
    )
    assert torch.equal(paper.eval().predict(batch["image"], batch["mask"]), model.eval().predict(batch["image"], batch["mask"]))
    assert model.multiple == paper.multiple


def test_losses_are_those_of_the_output_and_of_the_coarse_stage(batch: Batch) -> None:
    model = PixelLoss(network("PEPSI"))
    prediction = model(batch["image"], batch["mask"])
    losses = model.generator_losses(batch, prediction)
    both = [prediction.image, prediction.stages["coarse"]]
    expected = torch.stack([((image - batch["image"]).abs() * batch["mask"]).mean() for image in both]).sum()
    assert float(losses["hole"].detach()) == pytest.approx(float(expected.detach()))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({}, "network.class_path is missing"),
        ({"class_path": "lit_inpaint.papers.Nothing"}, "is lit_inpaint.papers.Nothing; give the import path"),
        ({"class_path": "lit_inpaint.masks.Center"}, "is no paper"),
        ({"class_path": "lit_inpaint.papers.PConv", "init_args": {"wdth": 3}}, "does not accept these init_args .*wdth"),
    ],
)
def test_a_wrong_network_is_one_line(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PixelLoss(setting)


def test_a_checkpoint_does_not_import_a_class_that_nobody_trusts(tmp_path: Path) -> None:
    model = PixelLoss(network("PConv"))
    checkpoint: dict[str, Any] = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "ours.ckpt")
    assert isinstance(load(tmp_path / "ours.ckpt"), PixelLoss)
    checkpoint["lit_inpaint"]["settings"]["network"]["class_path"] = "os_of_nobody.Paper"
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"names os_of_nobody\.Paper, which is not of lit_inpaint"):
        load(tmp_path / "other.ckpt")
