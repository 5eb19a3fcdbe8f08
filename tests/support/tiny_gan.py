"""Train a GAN of a few hundred parameters in the tests of the engine and of callbacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import l1_loss, softplus
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.settings import Adam, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, empty_holes


@dataclass(frozen=True)
class TinyWeights:
    l1: float = 3.0
    adversarial: float = 0.1
    real: float = 0.5
    fake: float = 0.5


NO_CLIPPING = Training(channels_last=False)
ADAM_G = Adam(lr=1e-2, betas=(0.5, 0.9))
ADAM_D = Adam(lr=2e-2, betas=(0.0, 0.9))


class TinyGAN(Inpainter):
    """A tiny paper with batch norm, dropout and spectral norm, whose states depend on the order of calls."""

    def __init__(
        self,
        stages: tuple[Stage, ...] = (Stage(),),
        dropout: float = 0.0,
        weights: TinyWeights = TinyWeights(),
        training: Training = NO_CLIPPING,
        generator_optimizer: Adam = ADAM_G,
        discriminator_optimizer: Adam = ADAM_D,
    ) -> None:
        super().__init__(weights, generator_optimizer, discriminator_optimizer, training, stages)
        self.generator = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh(), nn.Dropout(dropout), nn.Conv2d(8, 3, 3, padding=1)
        )
        self.discriminator = nn.Sequential(
            spectral_norm(nn.Conv2d(3, 4, 4, stride=2, padding=1)), nn.LeakyReLU(0.2), spectral_norm(nn.Conv2d(4, 1, 4))
        )

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        return Prediction(self.generator(torch.cat([empty_holes(image, mask), mask], dim=1)))

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        assert self.discriminator is not None
        return {
            "l1": l1_loss(prediction.image, batch["image"]),
            "adversarial": softplus(-self.discriminator(prediction.image)).mean(),
        }

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        assert self.discriminator is not None
        return {
            "real": softplus(-self.discriminator(batch["image"])).mean(),
            "fake": softplus(self.discriminator(prediction.image)).mean(),
        }


def make_batches(count: int, size: int = 8, samples: int = 2) -> list[Batch]:
    """Return batches of random images, each with another square hole."""
    rng = torch.Generator().manual_seed(count)
    batches = []
    for number in range(count):
        mask = torch.zeros(samples, 1, size, size)
        for sample in range(samples):
            mask[sample, :, sample : sample + size // 2, number % 3 : number % 3 + size // 2] = 1
        image = torch.rand(samples, 3, size, size, generator=rng)
        batches.append(Batch(image=image, mask=mask, name=[f"{number}/{sample}" for sample in range(samples)]))
    return batches


def loader(batches: list[Batch]) -> DataLoader[Any]:
    return DataLoader(batches, batch_size=None)  # a list serves as a dataset


def make_trainer(steps: int, *callbacks: Callback, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(max_steps=steps, accelerator="cpu", callbacks=list(callbacks), **{"max_epochs": -1, **quiet, **options})


class Outputs(Callback):
    """Record what `training_step` returns for each batch."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append(dict(outputs))


def make_tiny(seed: int = 0, paper: type[TinyGAN] = TinyGAN, **arguments: Any) -> TinyGAN:
    """Make a `TinyGAN`, or a subclass, whose weights depend on `seed` alone, which is also the seed of its run."""
    torch.manual_seed(seed)
    model = paper(**arguments)
    model.seed = seed
    return model
