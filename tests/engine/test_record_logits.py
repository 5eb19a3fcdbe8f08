"""D(real) and D(fake): the discriminator's mean logits, recorded for the log."""

from dataclasses import dataclass

import pytest
import torch
from tiny_gan import Outputs, TinyGAN, loader, make_batches, make_trainer
from torch.nn.functional import softplus

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.papers import PEPSI, DeepGIN, LPINet
from lit_inpaint.settings import Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms


class RecordingGAN(TinyGAN):
    """Records the logits and keeps their means for comparison."""

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        assert self.discriminator is not None
        real = self.record_logits("real", self.discriminator(batch["image"]))
        fake = self.record_logits("fake", self.discriminator(prediction.image))
        self.seen = {"d_real": real.detach().mean(), "d_fake": fake.detach().mean()}
        return {"real": softplus(-real).mean(), "fake": softplus(fake).mean()}


def train(model: TinyGAN, steps: int = 2) -> dict[str, torch.Tensor]:
    """Train and return the mean logits of the last step."""
    outputs = Outputs()
    make_trainer(steps, outputs).fit(model, loader(make_batches(steps, samples=4)))
    assert not {"d_real", "d_fake"} & outputs.seen[0].keys()  # logits are no losses
    return model.mean_logits


@pytest.mark.parametrize(
    "stage",
    [Stage(), Stage(update="alternating"), Stage(update="alternating", d_steps=3), Stage(update="generator_first")],
    ids=lambda stage: f"{stage.update}, D {stage.d_steps}x",
)
def test_mean_logits_are_those_of_the_last_update(stage: Stage) -> None:
    torch.manual_seed(0)
    model = RecordingGAN(stages=(stage,))
    log = train(model)
    assert log == model.seen
    assert not log["d_real"].requires_grad


def test_with_micro_batches_they_are_those_of_the_batch() -> None:
    found = []
    for count in (1, 2):
        torch.manual_seed(0)
        model = RecordingGAN(training=Training(channels_last=False, accumulate_generator=count, accumulate_discriminator=count))
        model.generator[1] = torch.nn.Identity()  # batch norm depends on the micro-batches
        log = train(model, steps=1)  # at the second, spectral norm has had one power iteration per micro-batch
        found.append(torch.stack([log["d_real"], log["d_fake"]]))
    assert torch.allclose(*found, rtol=1e-5)


def test_a_stage_without_discriminator_has_no_logits() -> None:
    log = train(RecordingGAN(stages=(Stage(discriminator=False),)))
    assert log == {}


@dataclass
class Case:
    paper: Inpainter
    size: int


@pytest.mark.parametrize(
    "case",
    [
        Case(LPINet(), 32),
        Case(PEPSI(size=32, width=8, discriminator_width=8), 32),
        Case(DeepGIN(size=32, width=4, discriminator_width=4, vgg="random"), 32),
    ],
    ids=lambda case: type(case.paper).__name__,
)
def test_every_paper_with_a_discriminator_records_its_logits(case: Case) -> None:
    """Real images under one name, completed images under the other."""
    (batch,) = make_batches(1, case.size)
    with torch.no_grad():
        prediction = case.paper(batch["image"], batch["mask"])
        list(case.paper.discriminator_losses(batch, prediction).values())
        recorded = dict(case.paper._micro_batch_logits)
        blank = Batch(image=torch.zeros_like(batch["image"]), mask=torch.ones_like(batch["mask"]), name=batch["name"])
        case.paper.discriminator_losses(blank, prediction)
    assert recorded.keys() == {"d_real", "d_fake"}
    assert all(value.ndim == 0 for value in recorded.values())
    assert recorded["d_real"] != case.paper._micro_batch_logits["d_real"]


def test_scales_have_equal_weight() -> None:
    model = LPINet()
    scales = [torch.full((1, 1, 8, 8), 3.0), torch.full((1, 1, 2, 2), 1.0, dtype=torch.bfloat16)]
    assert model.record_logits("real", scales) is scales
    assert model._micro_batch_logits == {"d_real": torch.tensor(2.0)}
