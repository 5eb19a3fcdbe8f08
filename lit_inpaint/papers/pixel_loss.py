"""PixelLoss: the generator of any paper, trained with pixel losses alone, to compare architectures at equal samples.

No paper of its own: `experiments/benchmark/networks/` trains every generator with it, under one loss, optimizer and schedule.

    image, mask -> [forward of the paper] -> output, and the images of earlier stages that have the output's size
    loss = sum over these images of  valid * |difference| on known pixels + hole * |difference| in holes (means over all pixels)

The paper's discriminator, losses, optimizers and stages are not used.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.l1 import masked_l1
from lit_inpaint.schedules import Value
from lit_inpaint.settings import Adam, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms, in the ratio of Liu et al. 2018.

    Attributes:
        valid: absolute error of known pixels, averaged over all pixels.
        hole: absolute error of hole pixels, averaged over all pixels.
    """

    valid: Value = 1.0
    hole: Value = 6.0


class PaperForward(nn.Module):
    """The forward pass of a paper without its discriminator."""

    def __init__(self, paper: Inpainter) -> None:
        super().__init__()
        paper.discriminator = None
        self.paper = paper

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Return the paper's prediction."""
        prediction: Prediction = self.paper(image, mask)
        return prediction


class PixelLoss(Inpainter):
    """The generator of a paper with pixel losses.

    Args:
        network: the paper as `{"class_path": ..., "init_args": {...}}`; arguments are numbers, strings, and lists of them.
        weights: of the loss terms.
        generator_optimizer: Adam 1e-3.
        training: options of the engine.

    Raises:
        UserError: the class is no paper, or does not accept the arguments.
    """

    generator: PaperForward

    def __init__(
        self,
        network: dict[str, Any],
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = Adam(lr=1e-3),
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, None, training, (Stage("pixels", discriminator=False),))
        paper = build(network)
        self.generator = PaperForward(paper)
        self.discriminator = None
        cast(Any, self).multiple = paper.multiple  # elsewhere a constant of the class
        self.subsample_above = paper.subsample_above

    @property
    def label(self) -> str:
        """Name of the paper whose generator this is."""
        return type(self.generator.paper).__name__

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to the paper's raw output."""
        prediction: Prediction = self.generator(image, mask)
        return prediction

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute both terms of the output and of each earlier stage of the same size."""
        image, mask = batch["image"], batch["mask"]
        outputs = [prediction.image, *(stage for stage in prediction.stages.values() if stage.shape == image.shape)]
        return {
            "valid": torch.stack([masked_l1(output - image, 1 - mask) for output in outputs]).sum(),
            "hole": torch.stack([masked_l1(output - image, mask) for output in outputs]).sum(),
        }


def build(network: dict[str, Any]) -> Inpainter:
    """Build the paper that `network` names."""
    name = str(network.get("class_path", ""))
    module, _, cls = name.rpartition(".")
    try:
        paper = getattr(importlib.import_module(module), cls)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"PixelLoss: network.class_path is {name or 'missing'}; give the import path of a paper") from error
    if not (isinstance(paper, type) and issubclass(paper, Inpainter)):
        raise UserError(f"PixelLoss: {name} is no paper; give a class such as lit_inpaint.papers.PConv")
    arguments = {key: tuple(each) if isinstance(each, list) else each for key, each in network.get("init_args", {}).items()}
    try:
        return cast(Inpainter, cast(Any, paper)(**arguments))
    except TypeError as error:
        raise UserError(f"PixelLoss: {cls} does not accept these init_args ({error})") from error
