"""GLCIC against the public code's outputs, its losses by hand, its three stages, and its post-processing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import parity_fixtures as parity
import pytest
import torch
from tiny_gan import Outputs, loader, make_batches, make_trainer
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, conv_transpose2d, linear

import lit_inpaint
from lit_inpaint.engine.poisson_blending import poisson_blend
from lit_inpaint.errors import UserError
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers
from lit_inpaint.papers import GLCIC
from lit_inpaint.papers.glcic import STAGES, Weights
from lit_inpaint.settings import Adadelta, Adam, Stage
from lit_inpaint.types import Batch, Prediction, composite

PORT = {"size": 160, "local_size": 96, "global_layers": 5}
SMALL = {"size": 32, "local_size": 16, "global_layers": 5, "width": 4, "discriminator_width": 4, "features": 8}


def make(**arguments: Any) -> GLCIC:
    torch.manual_seed(0)
    return GLCIC(**{**SMALL, **arguments})


# Networks -------------------------------------------------------------------------------------------------------------------


def test_parameter_counts() -> None:
    with torch.device("meta"):
        whole, port = GLCIC(), GLCIC(**PORT)
    assert count(whole.generator) == 6_072_131
    assert round(count(whole.generator) / 2**20, 1) == 5.8, "LPI-Net, table 3"
    assert count(whole.discriminator) == 45_063_681
    assert count(port.discriminator) == 39_557_121
    branches = [count(part) for part in (port.discriminator.local_branch, port.discriminator.global_branch)]
    assert [*branches, count(port.discriminator.to_logit)] == [15_583_232, 23_971_840, 2_049]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def official(name: str) -> dict[str, Tensor]:
    return parity.fill_roles(parity.metadata(name)["state"], parity.metadata(name)["gain"])


@pytest.mark.parametrize("channels_last", [False, True])
def test_parity_of_the_generator(channels_last: bool) -> None:
    model, stored = GLCIC(mean_color=(0.5, 0.45, 0.4), **SMALL | {"width": 64}).eval(), parity.arrays("glcic")
    assert model.load_official(official("glcic")) == []
    if channels_last:
        use_fast_cpu_layers(model)
        model.to(memory_format=torch.channels_last)
    stages: dict[str, Tensor] = {}
    for number in (6, 12, 16):
        model.generator[number - 1].register_forward_hook(lambda m, a, y, number=number: stages.update({f"bn{number}": y}))
    image, mask = parity.image(256), parity.mask(256)
    with torch.no_grad():
        output = model(image, mask).image
    assert parity.worst_crop(output, stored, "output") < 2e-5
    assert parity.worst_crop(composite(image, output, mask), stored, "composite") < 2e-5
    for name, features in stages.items():
        assert parity.worst_crop(features, stored, f"stage:{name}") < 2e-5, name


@pytest.mark.parametrize(("size", "arguments"), [(160, PORT), (256, {})])
def test_parity_of_the_discriminator(size: int, arguments: dict[str, int]) -> None:
    name = f"glcic_disc_{size}"
    with torch.device("meta"):
        model = GLCIC(width=4, **arguments)
    model.to_empty(device="cpu").eval()
    model.load_official(public_generator(model), official(name))
    side, image, stored = model.discriminator.local_size, parity.image(256), parity.arrays(name)
    with torch.no_grad():
        crop, whole = (torch.from_numpy(parity.center(image, s)) for s in (side, size))
        features = {
            "local_feat": model.discriminator.local_branch(crop),
            "global_feat": model.discriminator.global_branch(whole),
        }
        assert torch.allclose(model.discriminator(whole, crop).sigmoid()[0], torch.from_numpy(stored["output_crop"]), atol=2e-5)
    for key, value in features.items():
        middle = (value.shape[1] - 64) // 2
        assert torch.allclose(value[0, middle : middle + 64], torch.from_numpy(stored[f"{key}_crop"]), atol=2e-5), key
        assert float(value.double().abs().sum()) == pytest.approx(stored[f"{key}_stats"][2], rel=1e-5)


def public_generator(model: GLCIC) -> dict[str, Tensor]:
    """The generator's own weights under public names."""
    state = {}
    for name, value in model.generator.state_dict().items():
        block, *within, leaf = name.split(".")
        kind = "bn" if within == ["2"] else "deconv" if block in ("12", "14") else "conv"
        state[f"{kind}{int(block) + 1}.{leaf}"] = value
    return state


@pytest.mark.parametrize("norm_first", [False, True])
def test_networks_by_hand(norm_first: bool, batch: Batch) -> None:
    """In training mode and double precision; conv, ReLU, norm, or conv, norm, ReLU."""
    model = make(norm_first=norm_first, mean_color=(0.1, 0.2, 0.3)).double()
    image, mask = batch["image"].double(), batch["mask"].double()

    def finish(x: Tensor, p: dict[str, Tensor], block: str) -> Tensor:
        weight, bias = (p[f"{block}.{1 if norm_first else 2}.{leaf}"] for leaf in ("weight", "bias"))
        x = x if norm_first else x.clamp(min=0)
        x = batch_norm(x, None, None, weight, bias, training=True)
        return x.clamp(min=0) if norm_first else x

    p = dict(model.generator.named_parameters())
    x = torch.cat([image * (1 - mask) + mask * torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1), mask], dim=1)
    for number in range(16):
        weight, bias = p[f"{number}.0.weight"], p[f"{number}.0.bias"]
        if number in (12, 14):
            x = conv_transpose2d(x, weight, bias, stride=2, padding=1)
        else:
            dilation = {6: 2, 7: 4, 8: 8, 9: 16}.get(number, 1)
            x = conv2d(x, weight, bias, 2 if number in (1, 3) else 1, dilation * (weight.shape[-1] // 2), dilation)
        x = finish(x, p, str(number))
    output = conv2d(x, p["16.weight"], p["16.bias"], padding=1).sigmoid()
    torch.testing.assert_close(model(image, mask).image, output, rtol=1e-6, atol=1e-6)

    d, features = dict(model.discriminator.named_parameters()), []
    for branch, x in (("local_branch", image[..., 8:24, 4:20]), ("global_branch", image)):
        for number in range(5):
            x = conv2d(x, d[f"{branch}.{number}.0.weight"], d[f"{branch}.{number}.0.bias"], 2, 2)
            x = finish(x, d, f"{branch}.{number}")
        features.append(linear(x.flatten(1), d[f"{branch}.6.weight"], d[f"{branch}.6.bias"]).clamp(min=0))
    expected = linear(torch.cat(features, dim=1), d["to_logit.weight"], d["to_logit.bias"])
    torch.testing.assert_close(model.discriminator(image, image[..., 8:24, 4:20]), expected)


@pytest.mark.parametrize("size", [(32, 32), (37, 53), (5, 12), (1, 1)])
def test_any_size(size: tuple[int, int]) -> None:
    image, mask = torch.rand(2, 3, *size), (torch.rand(2, 1, *size) > 0.6).float()
    model = make().eval()
    completed = model.complete(image, mask)
    assert completed.shape == model(image, mask).image.shape == image.shape
    assert torch.equal(completed * (1 - mask), image * (1 - mask))


def test_load_official_is_strict(tmp_path: Path) -> None:
    model = make(width=64)
    state = official("glcic")
    with pytest.raises(UserError, match=r"generator; missing, unknown or of another shape are 1 weights: 4.0.weight"):
        model.load_official({name: value for name, value in state.items() if name != "conv5.weight"})
    with pytest.raises(UserError, match=r"generator; .*conv18.weight"):
        model.load_official({**state, "conv18.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"ReLU before batch norm: GLCIC\(norm_first=False\)"):
        make(width=64, norm_first=True).load_official(state)
    with pytest.raises(
        UserError, match=r"5 global convolutions, this one 6: GLCIC\(size=160, local_size=96, global_layers=5\)"
    ):
        make(width=64, global_layers=6).load_official(state, {f"model_gd.conv{n}.weight": torch.zeros(1) for n in range(1, 6)})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match="discriminator; "):
        model.load_official(state, {"linear1.weight": torch.zeros(1, 16)})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "all or nothing"
    model.load_official(state)
    trainer = make_trainer(1)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = lit_inpaint.load(tmp_path / "x.ckpt")
    assert isinstance(again, GLCIC)
    assert all(torch.equal(value, state[name]) for name, value in public_generator(again).items())


# Losses ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_losses(variant: Any, batch: Batch) -> None:
    model = make(variant=variant, local_size=32).eval()  # crops of the whole image, so that nothing is drawn
    prediction = Prediction(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    image, mask = batch["image"], batch["mask"]
    fake = prediction.image if variant == "official" else image * (1 - mask) + prediction.image * mask
    with torch.no_grad():
        d_fake, d_real = (model.discriminator(x, x).sigmoid() for x in (fake, image))
        found = model.generator_losses(batch, prediction)
        torch.testing.assert_close(found["l2"], ((prediction.image - image).square() * mask).sum() / image.numel())
        torch.testing.assert_close(found["adversarial"](), -d_fake.log().mean())  # type: ignore[operator]
        losses = model.discriminator_losses(batch, prediction)
    torch.testing.assert_close(losses["fake"], -(1 - d_fake).log().mean())
    torch.testing.assert_close(losses["real"], -d_real.log().mean())


def test_every_parameter_gets_a_gradient(batch: Batch) -> None:
    model = make()
    prediction = model(batch["image"], batch["mask"])
    terms = {**model.generator_losses(batch, prediction), **model.discriminator_losses(batch, prediction)}
    sum(term() if callable(term) else term for term in terms.values()).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    assert not [name for name, p in model.generator.named_parameters() if not p.grad.any()]


def test_images_of_another_size_are_one_line(batch: Batch) -> None:
    model = make(size=64)
    with pytest.raises(UserError, match=r"takes 64x64 images, and these are 32x32; set --data.size 64, or --model.size 32"):
        model.discriminator_losses(batch, model(batch["image"], batch["mask"]))
    with pytest.raises(UserError, match="crops of 64 pixels do not fit into images of 32"):
        make(local_size=64)


# Training -------------------------------------------------------------------------------------------------------------------


def test_three_stages_of_section_4() -> None:
    model = make()
    assert [stage.iterations for stage in model.stages()] == [90_000, 10_000, 400_000]
    assert [stage.players for stage in model.stages()] == [("generator",), ("discriminator",), ("generator", "discriminator")]
    assert model.generator_optimizer == model.discriminator_optimizer == Adadelta(lr=1.0, rho=0.9, eps=1e-6)
    alpha = 4e-4
    assert model.weights == Weights(l2=1 / 2, adversarial=alpha / 2, real=alpha / 2, fake=alpha / 2)
    assert [stage.leftover_gradients for stage in model.stages()] == [False] * 3
    assert [stage.leftover_gradients for stage in make(variant="official").stages()] == [False, False, True]


def short(length: int = 2) -> tuple[Stage, ...]:
    return tuple(Stage(**{**vars(stage), "iterations": length}) for stage in STAGES)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_trains_through_all_stages(variant: Any, precision: str) -> None:
    model, log = make(variant=variant, stages=short()), Outputs()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    make_trainer(6, log, precision=precision).fit(model, loader(make_batches(6, size=32)))
    assert [set(row) for row in log.seen[::2]] == [
        {"l2", "generator"},
        {"real", "fake", "discriminator"},
        {"l2", "adversarial", "real", "fake", "generator", "discriminator"},
    ]
    assert all(value.isfinite() for row in log.seen for value in row.values())
    row = {name: float(value) for name, value in log.seen[4].items()}
    assert row["generator"] == pytest.approx(0.5 * row["l2"] + 2e-4 * row["adversarial"])
    assert row["discriminator"] == pytest.approx(2e-4 * (row["real"] + row["fake"]))
    assert float(log.seen[2]["discriminator"]) == pytest.approx(0.5 * float(log.seen[2]["real"] + log.seen[2]["fake"]))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name, _ in model.named_parameters()} <= changed


def test_a_run_resumed_with_leftover_gradients_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    batches, states = make_batches(1, size=32) * 6, []
    for stops in ((6,), (5, 6)):
        for number, stop in enumerate(stops):
            model, trainer = make(variant="official", stages=short()), make_trainer(stop)
            file = tmp_path / "x.ckpt" if number else None
            trainer.fit(model, loader(batches), ckpt_path=file, weights_only=True if number else None)
            trainer.save_checkpoint(tmp_path / "x.ckpt")
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_overfits_one_batch() -> None:
    y, x = torch.meshgrid(*[torch.linspace(0, 3, 32)] * 2, indexing="ij")
    waves = [0.5 + 0.4 * torch.sin(k * x + (k + c) * y) for k in (1, 2) for c in range(3)]
    image, mask = torch.stack(waves).view(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    mask[..., 10:22, 10:22] = 1
    batch = Batch(image=image, mask=mask, name=["a", "b"])
    stages = (Stage("completion", discriminator=False, weights={"l2": 1.0, "adversarial": 0.0}),)
    model = make(width=8, stages=stages, generator_optimizer=Adam(lr=5e-3))
    make_trainer(150).fit(model, loader([batch] * 150))
    with torch.no_grad():
        error = (composite(image, model.train()(image, mask).image, mask) - image).square().mean()
    assert float(-10 * error.log10()) > 30


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write glcic`."""
    expected, found = golden.read("glcic"), golden.measure("glcic")
    assert found.keys() == expected.keys() == {"l2", "adversarial", "real", "fake", "generator", "discriminator"}
    for term, values in found.items():
        assert values == pytest.approx(expected[term], rel=1e-3), term


# Post-processing --------------------------------------------------------------------------------------------------------------


def test_poisson_blending_of_a_shifted_prediction_is_exact() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 56), indexing="ij")
    image = torch.stack([0.3 + 0.2 * torch.sin(4 * x + c * y) for c in range(3)]).expand(2, 3, 40, 56)
    mask = torch.zeros(2, 1, 40, 56)
    mask[0, :, 10:30, 12:40] = 1
    mask[1, :, :15, 30:] = 1  # at the border
    mask[1, :, 30:, ::2] = 1
    offset = torch.tensor([0.2, -0.1, 0.3]).view(1, 3, 1, 1)
    blended = poisson_blend(torch.where(mask > 0.5, torch.rand(()), image), image + offset, mask)
    torch.testing.assert_close(blended * mask, image * mask, rtol=0, atol=1e-4)
    everything = torch.ones_like(mask)
    assert torch.equal(poisson_blend(image, image + offset, everything), image + offset), "no known pixel"
    assert torch.equal(poisson_blend(image, image + offset, 0 * everything), image + offset), "no hole"


def test_poisson_blending_solves_the_equation() -> None:
    rng = torch.Generator().manual_seed(0)
    image, prediction = (torch.rand(1, 3, 12, 12, generator=rng).double() for _ in range(2))
    mask = torch.zeros(1, 1, 12, 12).double()
    mask[..., 3:8, 4:9] = 1
    found = composite(image, poisson_blend(image, prediction, mask), mask)

    def laplacian(x: Tensor) -> Tensor:
        return 4 * x - x.roll(1, 2) - x.roll(-1, 2) - x.roll(1, 3) - x.roll(-1, 3)

    torch.testing.assert_close(laplacian(found) * mask, laplacian(prediction) * mask, rtol=0, atol=1e-4)


def test_blending_is_post_processing_alone(batch: Batch) -> None:
    plain, blended = make().eval(), make(blending="poisson").eval()
    image, mask = batch["image"], batch["mask"]
    with torch.no_grad():
        assert torch.equal(plain(image, mask).image, blended(image, mask).image)
        expected = composite(image, poisson_blend(image, plain(image, mask).image, mask).clamp(0, 1), mask)
    assert torch.equal(blended.complete(image, mask), expected)
    assert not torch.equal(blended.complete(image, mask), plain.complete(image, mask))
    assert torch.equal(blended.complete(image * (1 - mask), mask) * mask, expected * mask)
