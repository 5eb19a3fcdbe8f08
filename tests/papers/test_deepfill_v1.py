"""DeepFill v1 against a PyTorch port of its public code, its counts, and its losses by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import parity_fixtures as parity
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_gan import Outputs, loader, make_batches, make_trainer
from torch import Tensor, nn

import lit_inpaint
from lit_inpaint.errors import UserError
from lit_inpaint.papers import DeepFillV1
from lit_inpaint.papers.deepfill_v1 import Weights, discount_weights, known_l1
from lit_inpaint.published import tables
from lit_inpaint.settings import Adam, Stage
from lit_inpaint.types import Batch, Terms

TOLERANCE = 2e-5
SMALL = {"size": 32, "local_size": 16, "width": 8, "discriminator_width": 8}
OF_GENERATOR = {"l1", "coarse_l1", "ae", "coarse_ae", "adversarial"}


def make(**arguments: Any) -> DeepFillV1:
    torch.manual_seed(0)
    return DeepFillV1(**{**SMALL, **arguments})


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def filled(name: str, prefix: str = "") -> dict[str, Tensor]:
    metadata = parity.metadata(name)
    return {prefix + key: value for key, value in parity.fill_roles(metadata["state"], metadata["gain"]).items()}


@pytest.fixture(scope="module")
def port() -> DeepFillV1:
    model = DeepFillV1(variant="port").eval()
    critics = filled("deepfillv1_local_disc", "localD.") | filled("deepfillv1_global_disc", "globalD.")
    assert model.load_official(filled("deepfillv1"), critics) == []
    return model


# Networks -------------------------------------------------------------------------------------------------------------------


def test_parameter_counts_and_the_count_in_table_3_of_lpi_net(port: DeepFillV1) -> None:
    """The table's file of 13.8 x 2^20 bytes holds both networks in float32; its 2.9 x 2^20 parameters are of neither."""
    assert count(port.generator) == 3_601_542
    assert count(port.generator.coarse) == 1_448_227
    assert (count(port.discriminator.of_box), count(port.discriminator.of_image)) == (2_684_289, 2_733_441)
    (row,) = [table.figures["CA"]["all"] for table in tables("lpi_net") if table.name == "lpi_cost"]
    assert row == {"parameters": 2.9, "generators": 2, "weights_file": 13.8}
    assert count(port.generator) * 4 / 2**20 == pytest.approx(13.8, rel=0.005)
    with torch.device("meta"):
        large = DeepFillV1(size=512, local_size=256)
    assert count(large.generator) == 3_601_542
    assert count(large.discriminator.of_box) == 4_306_560 + 512 * 16**2 + 1, "512 channels, as in the code"


def test_generator_parity(port: DeepFillV1) -> None:
    stored, features = parity.arrays("deepfillv1"), {}

    def keep(_: object, inputs: tuple[Tensor, ...]) -> None:
        features["attention"] = inputs[0]

    handle = port.generator.after_attention.register_forward_pre_hook(keep)
    with torch.no_grad():
        prediction = port(parity.image(256), parity.mask(256))
    handle.remove()
    attention = "stage:fine_generator.contextul_attention"
    outputs = {
        "output": 2 * prediction.image - 1,
        "stage1": 2 * prediction.stages["coarse"] - 1,
        attention: features["attention"],
    }
    for key, output in outputs.items():
        assert parity.worst_crop(output, stored, key) < TOLERANCE, key


def test_parity_of_the_critics(port: DeepFillV1) -> None:
    image = 2 * parity.image(256) - 1
    with torch.no_grad():
        of_image, of_box = (float(score) for score in port.discriminator(image, image[..., 64:192, 64:192]))
    assert abs(of_image - float(parity.arrays("deepfillv1_global_disc")["output_crop"][0])) < TOLERANCE
    assert abs(of_box - float(parity.arrays("deepfillv1_local_disc")["output_crop"][0])) < TOLERANCE


@pytest.mark.parametrize("variant", ["paper", "official", "port"])
def test_masks_of_the_attention(variant: Any, batch: Batch) -> None:
    """In training the first mask of the batch counts in all variants but the paper's; outside it, each sample's own."""
    model = make(variant=variant).double()
    image, mask = batch["image"].double(), batch["mask"].double()
    for training in (True, False):
        model.train(training)
        with torch.no_grad():
            together = model(image, mask).image
            alone = torch.cat([model(image[n : n + 1], mask[n : n + 1]).image for n in range(2)])
        assert torch.allclose(together[0], alone[0], atol=1e-10)
        assert torch.allclose(together[1], alone[1], atol=1e-10) == (variant == "paper" or not training)
    completed = torch.cat([model.complete(image[n : n + 1], mask[n : n + 1]) for n in range(2)])
    assert torch.allclose(model.complete(image, mask), completed, atol=1e-10), "a result depends on the batch"


def test_bgr_is_the_network_on_swapped_channels(batch: Batch) -> None:
    rgb, bgr = make().eval(), make(channels="bgr").eval()
    with torch.no_grad():
        found = bgr(batch["image"].flip(1), batch["mask"]).image.flip(1)
        assert torch.equal(found, rgb(batch["image"], batch["mask"]).image)


@pytest.mark.parametrize("size", [(24, 24), (37, 61), (72, 40)])
def test_other_sizes(size: tuple[int, int]) -> None:
    image, mask = torch.rand(1, 3, *size), torch.zeros(1, 1, *size)
    mask[..., 8:20, 4:16] = 1
    completed = make().eval().complete(image, mask)
    assert completed.shape == image.shape
    assert completed.isfinite().all()


# Bad input ------------------------------------------------------------------------------------------------------------------


def test_sizes_that_do_not_fit_raise(batch: Batch) -> None:
    with pytest.raises(UserError, match=r"at least 24x24 pixels, this one has 16x40; enlarge it$"):
        make().complete(torch.rand(1, 3, 16, 40), torch.ones(1, 1, 16, 40))
    with pytest.raises(UserError, match=r"^DeepFillV1: boxes of 48 pixels do not fit into images of 32; .*local_size 16$"):
        make(local_size=48)
    with pytest.raises(
        UserError, match=r"^DeepFillV1's critics take 64x64 images, and these are 32x32; set --data\.size 64, or"
    ):
        make(size=64).generator_losses(batch, make()(batch["image"], batch["mask"]))
    with pytest.raises(UserError, match=r"^DeepFillV1: width=7; .*even number$"):
        make(width=7)


def test_weights_of_another_network_raise(port: DeepFillV1) -> None:
    weights = filled("deepfillv1")
    with pytest.raises(UserError, match=r"^these weights were trained with zero padding, .*variant='official', channels='bgr'"):
        make().load_official(weights)
    with pytest.raises(UserError, match=r"^these are not weights of daa233's Generator.* DeepFillV2\.load_official$"):
        make(variant="port").load_official({"xconv1.conv.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"^daa233's generator does not fit this DeepFillV1; .*82 weights"):
        make(variant="port").load_official(weights)
    before = port.generator.coarse[0].conv.conv.weight.detach().clone()
    local = filled("deepfillv1_local_disc", "localD.")
    with pytest.raises(UserError, match=r"^daa233's localD and globalD do not fit the critics .*10 weights: of_image"):
        port.load_official({name: value + 1 for name, value in weights.items()}, local)
    assert torch.equal(port.generator.coarse[0].conv.conv.weight, before), "all weights or none"


# Losses ---------------------------------------------------------------------------------------------------------------------


def test_discount_by_hand() -> None:
    expected = [[max(0.9 ** min(i, 8 - i), 0.9 ** min(j, 8 - j)) for j in range(8)] for i in range(8)]
    torch.testing.assert_close(discount_weights(8, 0.9), torch.tensor(expected))
    assert float(discount_weights(128, 0.9).amin()) == pytest.approx(0.9**64, rel=1e-4)


def test_known_l1_divides_by_the_known_fraction_of_each_sample(batch: Batch) -> None:
    difference, known = torch.rand(2, 3, 32, 32), 1 - batch["mask"].expand(-1, 3, -1, -1)
    expected = torch.stack([x[k > 0.5].mean() for x, k in zip(difference, known, strict=True)]).mean()
    torch.testing.assert_close(known_l1(difference, batch["mask"]), expected)
    assert known_l1(difference, torch.ones(2, 1, 32, 32)) == 0


def evaluated(terms: Terms) -> dict[str, Tensor]:
    return {name: term() if callable(term) else term for name, term in terms.items()}


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_losses(variant: Any) -> None:
    """With the same rectangle in both samples, as the public code has it."""
    model = make(variant=variant).double()
    image, mask = torch.rand(2, 3, 32, 32, dtype=torch.float64), torch.zeros(2, 1, 32, 32, dtype=torch.float64)
    mask[:, :, 5:15, 12:24] = 1
    box, target, batch = (..., slice(2, 18), slice(10, 26)), 2 * image - 1, Batch(image=image, mask=mask, name=["a", "b"])
    prediction = model(image, mask)
    found = evaluated(model.generator_losses(batch, prediction))
    torch.manual_seed(7)
    found |= evaluated(model.discriminator_losses(batch, prediction.detach()))
    fine, coarse = 2 * prediction.image - 1, 2 * prediction.stages["coarse"] - 1
    completed = (fine * mask + target * (1 - mask)).detach()
    weights = discount_weights(16, 0.99 if variant == "paper" else 0.9).double()
    critics = model.discriminator
    scores = {
        name: critics.of_image(x).mean() + critics.of_box(x[box]).mean() for name, x in (("real", target), ("fake", completed))
    }
    torch.manual_seed(7)
    penalty = 0
    for critic, cut in ((critics.of_image, (...,)), (critics.of_box, box)):
        e = torch.rand(2, 1, 1, 1, dtype=torch.float64)
        between = (e * target[cut] + (1 - e) * completed[cut]).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(between).sum(), between)
        penalty = penalty + ((gradient.square() * mask[cut]).sum((1, 2, 3)).sqrt() - 1).square().mean()
    known = (1 - mask).mean()
    expected = {
        "l1": (weights * (fine - target)[box].abs()).mean(),
        "coarse_l1": (weights * (coarse - target)[box].abs()).mean(),
        "ae": ((1 - mask) * (fine - target).abs()).mean() / known,
        "coarse_ae": ((1 - mask) * (coarse - target).abs()).mean() / known,
        "adversarial": -scores["fake"],
        "real": -scores["real"],
        "fake": scores["fake"],
        "gradient_penalty": penalty,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_training_as_in_the_public_code() -> None:
    model = make()
    weights = {"l1": 1.2, "coarse_l1": 1.2 * 1.2, "ae": 1.2, "coarse_ae": 1.2 * 1.2, "adversarial": 0.001}
    assert vars(model.weights) == pytest.approx(weights | {"real": 1.0, "fake": 1.0, "gradient_penalty": 10.0})
    assert model.generator_optimizer == model.discriminator_optimizer == Adam(lr=1e-4, betas=(0.5, 0.9))
    (stage,) = model.stages()
    assert (stage.update, stage.d_steps, stage.generator_every) == ("alternating", 1, 5)


def test_every_parameter_gets_a_gradient(batch: Batch) -> None:
    model = make()
    prediction = model(batch["image"], batch["mask"])
    sum(evaluated(model.generator_losses(batch, prediction)).values()).backward()
    model.discriminator.zero_grad()
    model.discriminator_losses(batch, prediction.detach())["real"].backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


class Changes(Callback):
    """Record the batches after which each player differs from before."""

    def __init__(self) -> None:
        self.steps: dict[str, list[int]] = {"generator": [], "discriminator": []}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.before = {name: p.detach().clone() for name, p in pl_module.named_parameters()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        changed = {name.split(".")[0] for name, p in pl_module.named_parameters() if not torch.equal(p, self.before[name])}
        for player in changed:
            self.steps[player].append(trainer.global_step)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_trains_through_the_engine(precision: str) -> None:
    """The critics step on each batch, the generator on every fifth."""
    model, outputs, changes = make(), Outputs(), Changes()
    trainer = make_trainer(6, outputs, precision=precision)
    trainer.callbacks.append(changes)
    trainer.fit(model, loader(make_batches(6, size=32)))
    assert changes.steps == {"generator": [5], "discriminator": [1, 2, 3, 4, 5, 6]}
    of_critics = {"real", "fake", "gradient_penalty", "discriminator"}
    for step, seen in enumerate(outputs.seen, start=1):
        assert seen.keys() == (of_critics | OF_GENERATOR | {"generator"} if step == 5 else of_critics)
        assert all(value.isfinite() for value in seen.values())


def test_checkpoints(tmp_path: Path, batch: Batch) -> None:
    model = make(stages=(Stage(update="alternating", d_steps=2),))
    trainer = make_trainer(1)
    trainer.fit(model, loader(make_batches(1, size=32)))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = lit_inpaint.load(tmp_path / "last.ckpt")
    assert isinstance(again, DeepFillV1)
    assert dict(again.hparams) == dict(model.hparams)
    with torch.no_grad():
        found, expected = (m.eval()(batch["image"], batch["mask"]).image for m in (again, model))
    assert torch.equal(found, expected)


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    batches, states = make_batches(1, size=32) * 5, []  # a list has no state to resume from
    for stops in ((5,), (1, 3, 5)):
        checkpoint = None
        for stop in stops:
            model, trainer = make(stages=(Stage(update="alternating", generator_every=2),)), make_trainer(stop)
            trainer.fit(model, loader(batches), ckpt_path=checkpoint, weights_only=True if checkpoint else None)
            checkpoint = tmp_path / f"{stop}.ckpt"
            trainer.save_checkpoint(checkpoint)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write`."""
    expected, found = golden.read("deepfill_v1"), golden.measure("deepfill_v1")
    assert found.keys() == expected.keys() == {*vars(Weights()), "generator", "discriminator"}
    for term, values in found.items():
        assert len(values) == golden.STEPS / (2 if term in OF_GENERATOR | {"generator"} else 1)
        assert values == pytest.approx(expected[term], rel=1e-3), term
