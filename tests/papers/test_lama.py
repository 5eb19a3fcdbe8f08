"""LaMa against the public code's outputs and counts, its losses by hand, sizes, update order, training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import numpy as np
import parity_fixtures as parity
import pytest
import torch
from numpy.typing import NDArray
from skimage import data
from tiny_gan import Outputs, loader, make_batches, make_trainer
from torch import Tensor, nn
from torch.nn.functional import interpolate, softplus

import lit_inpaint
from lit_inpaint.errors import UserError
from lit_inpaint.metrics import psnr
from lit_inpaint.papers import LaMa
from lit_inpaint.papers.lama import Weights, mask_aware_fake
from lit_inpaint.settings import Adam, Stage
from lit_inpaint.types import Batch

ONLY_L1 = Weights(adversarial=0.0, feature_matching=0.0, segmentation_perceptual=0.0)


def make(**arguments: Any) -> LaMa:
    """Build a small network with random loss networks."""
    torch.manual_seed(0)
    small = {"blocks": 2, "width": 4, "discriminator_width": 4, "segmentation": "random", "vgg": "random"}
    return LaMa(**{**small, **arguments})


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({}, 27_048_835), ({"blocks": 18}, 50_975_875), ({"convolution": "regular"}, 45_617_731)],
)
def test_parameter_counts(arguments: dict[str, Any], expected: int) -> None:
    with torch.device("meta"):
        model = LaMa(**arguments)
    assert count(model.generator) == expected
    assert count(model.discriminator) == 6_962_369


@pytest.mark.parametrize(("name", "blocks"), [("lama_fourier", 9), ("lama_big", 18)])
def test_outputs_of_the_public_generator(name: str, blocks: int) -> None:
    metadata, stored = parity.metadata(name), parity.arrays(name)
    model = LaMa(blocks=blocks).eval()
    assert model.load_official(parity.fill_roles(metadata["state"], metadata["gain"])) == []
    model.configure_model()
    found: dict[str, Tensor] = {}
    for layer, key in ((model.generator.encoder, "model.4"), (model.generator.blocks, metadata["stages"][-1])):
        layer.register_forward_hook(lambda module, args, output, key=key: found.update({key: output.clone()}))
    with torch.no_grad():
        image = model(parity.image(256), parity.mask(256)).image
    assert parity.worst_crop(image, stored, "output") < 2e-5
    for key, features in found.items():
        assert parity.worst_crop(features, stored, f"stage:{key}") < 2e-6 * float(features.abs().max())  # up to 145


def test_outputs_of_the_public_discriminator() -> None:
    metadata, stored = parity.metadata("lama_disc"), parity.arrays("lama_disc")
    model = make(discriminator_width=64).eval()
    generator = public_names(model)
    model.load_official(generator, parity.fill_roles(metadata["state"], metadata["gain"]))
    with torch.no_grad():
        logits, features = model.discriminator(parity.image(256))
    assert parity.worst_crop(logits, stored, "output") < 2e-5
    for number in (0, 2, 4):
        assert parity.worst_crop(features[number], stored, f"stage:model{number}") < 2e-5
    assert [x.shape[-1] for x in features] == [129, 65, 33, 17, 18]


# Public state dicts ---------------------------------------------------------------------------------------------------------


def public_names(model: LaMa) -> dict[str, Tensor]:
    """Return the weights of a small Fourier generator under public names, written from the fixture's list of names."""
    blocks, ours, state = model.blocks, model.generator.state_dict(), {}
    local = model.generator.blocks[0].layers[0].widths[0]

    def put(public: str, name: str, part: slice = slice(None)) -> None:
        kinds = ("weight",) if f"{name}.running_mean" not in ours else ("weight", "bias", "running_mean", "running_var")
        for kind in (*kinds, *(("bias",) if f"{name}.bias" in ours else ())):
            state[f"{public}.{kind}"] = ours[f"{name}.{kind}"][part].clone()
        if f"{name}.num_batches_tracked" in ours:
            state[f"{public}.num_batches_tracked"] = ours[f"{name}.num_batches_tracked"].clone()

    parts = {"l": slice(None, local), "g": slice(local, None)}
    for number in range(3):
        put(f"model.{number + 1}.ffc.convl2l", f"encoder.{number}.0")
        put(f"model.{number + 1}.bn_l", f"encoder.{number}.1")
    for side, part in parts.items():
        put(f"model.4.ffc.convl2{side}", "encoder.3.0", part)
        put(f"model.4.bn_{side}", "encoder.3.1", part)
    for block in range(blocks):
        for number in range(2):
            public, name = f"model.{5 + block}.conv{number + 1}", f"blocks.{block}.layers.{number}"
            for side, part in parts.items():
                put(f"{public}.ffc.convl2{side}", f"{name}.from_local", part)
                put(f"{public}.bn_{side}", f"{name}.norm", part)
            put(f"{public}.ffc.convg2l", f"{name}.global_to_local")
            put(f"{public}.ffc.convg2g.conv1.0", f"{name}.global_to_global.reduce.0")
            put(f"{public}.ffc.convg2g.conv1.1", f"{name}.global_to_global.reduce.1")
            put(f"{public}.ffc.convg2g.fu.conv_layer", f"{name}.global_to_global.fourier_unit.conv")
            put(f"{public}.ffc.convg2g.fu.bn", f"{name}.global_to_global.fourier_unit.norm")
            put(f"{public}.ffc.convg2g.conv2", f"{name}.global_to_global.expand")
    for number in range(3):
        put(f"model.{6 + blocks + 3 * number}", f"decoder.{number}.0")
        put(f"model.{7 + blocks + 3 * number}", f"decoder.{number}.1")
    put(f"model.{16 + blocks}", "to_rgb")
    return state


def test_a_state_dict_of_the_training_module_loads(batch: Batch) -> None:
    model, other = make().eval(), LaMa(blocks=2, width=4, discriminator_width=4).eval()
    whole = {f"generator.{name}": value for name, value in public_names(model).items()}
    whole |= {f"discriminator.{name.replace('layers.', 'model')}": v for name, v in model.discriminator.state_dict().items()}
    whole["loss_resnet_pl.impl.conv1.weight"] = torch.zeros(1)
    dropped = other.load_official(whole, whole)
    assert "loss_resnet_pl.impl.conv1.weight" in dropped
    with torch.no_grad():
        for network in ("generator", "discriminator"):
            ours, theirs = (getattr(m, network).state_dict() for m in (model, other))
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert torch.equal(other(batch["image"], batch["mask"]).image, model(batch["image"], batch["mask"]).image)


def test_load_official_is_strict() -> None:
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = public_names(model)
    with pytest.raises(UserError, match=r"of another network than this: LaMa\(blocks=2, convolution='fourier'\)"):
        make(blocks=3).load_official(state)
    with pytest.raises(UserError, match="of another network than this"):
        make(convolution="regular").load_official(state)
    with pytest.raises(UserError, match="these are not weights of LaMa's generator"):
        model.load_official({"weight": torch.zeros(1)})
    for wrong in (
        {**state, "model.3.surplus": torch.zeros(1)},
        {name: value for name, value in state.items() if name != "model.5.conv1.ffc.convl2g.weight"},
        {name: value for name, value in state.items() if name != "model.18.bias"},
    ):
        with pytest.raises(UserError, match="do not fit this LaMa"):
            model.load_official(wrong)
    with pytest.raises(UserError, match="discriminator does not fit"):
        model.load_official(state, {"model0.0.weight": torch.zeros(1)})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_regular_public_names() -> None:
    """pix2pixHD's list: padding, then convolution, norm and ReLU by turns; nine blocks from number 13 on."""
    model, other = make(convolution="regular"), LaMa(blocks=2, width=4, convolution="regular", discriminator_width=4)
    state = {}
    for name, value in model.generator.state_dict().items():
        part, number, *rest = name.split(".")
        tail = ".".join(rest)
        if part == "to_rgb":
            state[f"model.25.{number}"] = value
        elif part == "blocks":
            state[f"model.{13 + int(number)}.conv_block.{tail.removeprefix('layers.')}"] = value
        else:
            first = {"encoder": 1, "decoder": 15}[part] + 3 * int(number)
            state[f"model.{first + int(rest[0])}.{rest[1]}"] = value
    other.load_official(state)
    assert all(torch.equal(value, other.generator.state_dict()[name]) for name, value in model.generator.state_dict().items())


# Sizes ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convolution", ["fourier", "regular"])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (16, 40), (37, 53)])
def test_any_size(size: tuple[int, int], convolution: str) -> None:
    image, mask = torch.rand(2, 3, *size), (torch.rand(2, 1, *size) > 0.6).float()
    model = make(convolution=convolution)
    prediction = model(image, mask)
    assert prediction.image.shape == image.shape
    assert 0 <= float(prediction.image.min()) <= float(prediction.image.max()) <= 1
    completed = model.eval().complete(image, mask)
    assert torch.equal(completed * (1 - mask), image * (1 - mask))


def test_padding_is_symmetric() -> None:
    model = make().eval()
    image, mask = torch.rand(1, 3, 21, 5), (torch.rand(1, 1, 21, 5) > 0.6).float()
    padded = [torch.from_numpy(np.pad(x, ((0, 0), (0, 0), (0, 3), (0, 11)), mode="symmetric")) for x in (image, mask)]
    with torch.no_grad():
        torch.testing.assert_close(model(image, mask).image, model(*padded).image[..., :21, :5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": 0}, "blocks is 0"),
        ({"global_ratio": 1.0}, "global_ratio is 1.0"),
        ({"global_ratio": 0.0}, "global_ratio is 0"),
    ],
)
def test_impossible_numbers(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**arguments)


# Losses ---------------------------------------------------------------------------------------------------------------------


def test_generator_losses(batch: Batch) -> None:
    model = make().eval()
    image, mask = batch["image"], batch["mask"]
    prediction = model(image, mask)
    found = {name: term() for name, term in model.generator_losses(batch, prediction).items() if callable(term)}
    output = prediction.image
    logits, features = model.discriminator(output)
    _, targets = model.discriminator(image)
    segmentation = zip(model.segmentation(output), model.segmentation(image), strict=True)
    expected = {
        "valid": ((1 - mask) * (output - image).abs()).mean(),
        "hole": (mask * (output - image).abs()).mean(),
        "adversarial": softplus(-logits).mean(),
        "feature_matching": sum((a - b).square().mean() for a, b in zip(features, targets, strict=True)) / 5,
        "segmentation_perceptual": sum((a - b).square().mean() for a, b in segmentation),
        "vgg_perceptual": sum((a - b).abs().mean() for a, b in zip(model.vgg(output), model.vgg(image), strict=True)),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
    sum(found.values()).backward()
    assert not [name for name, p in model.generator.named_parameters() if p.grad is None or not p.grad.any()]


def test_discriminator_losses(batch: Batch) -> None:
    model = make().eval()
    image, mask = batch["image"], batch["mask"]
    found = model.discriminator_losses(batch, model(image, mask).detach())
    with torch.no_grad():
        fake, _ = model.discriminator(model(image, mask).image)
    leaf = image.clone().requires_grad_()
    real, _ = model.discriminator(leaf)
    (gradient,) = torch.autograd.grad(real.sum(), leaf)
    small = interpolate(mask, size=fake.shape[2:])
    fakes = small * softplus(fake) + (1 - small) * softplus(-fake)
    torch.testing.assert_close(found["real"], softplus(-real).mean())
    torch.testing.assert_close(found["fake"], fakes.mean())
    assert callable(found["r1"])
    r1 = found["r1"]()
    torch.testing.assert_close(r1, gradient.square().sum((1, 2, 3)).mean())
    (found["real"] + found["fake"] + r1).backward()
    assert not [name for name, p in model.discriminator.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(p.grad is None for p in model.generator.parameters())
    assert not image.requires_grad, "the batch is not changed"


def test_known_patches_of_outputs_are_real() -> None:
    logits, mask = torch.tensor([[[[3.0, -2.0]]]]), torch.zeros(1, 1, 4, 8)
    mask[..., 4:] = 1
    expected = (np.log1p(np.exp(-3.0)) + np.log1p(np.exp(-2.0))) / 2
    assert float(mask_aware_fake(logits, mask)) == pytest.approx(expected)
    mask[..., 4] = 0  # nearest neighbor: one column decides
    assert float(mask_aware_fake(logits, mask)) == pytest.approx((np.log1p(np.exp(-3.0)) + np.log1p(np.exp(2.0))) / 2)


def test_a_weight_of_zero_costs_nothing(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither loss networks nor discriminator run, and no weights are read."""
    model = make(weights=ONLY_L1, segmentation="ade20k", vgg="imagenet", stages=(Stage(discriminator=False),))
    monkeypatch.setattr(model.discriminator, "forward", None)
    outputs = Outputs()
    make_trainer(1, outputs).fit(model, loader(make_batches(1, size=32)))
    assert outputs.seen[0].keys() == {"valid", "generator"}
    assert model.segmentation.extractor is None
    assert model.vgg.extractor is None


# Training -------------------------------------------------------------------------------------------------------------------


def test_published_settings() -> None:
    with torch.device("meta"):
        model = LaMa()
    assert (model.generator_optimizer, model.discriminator_optimizer) == (Adam(lr=1e-3), Adam(lr=1e-4))
    assert model.weights == Weights(10, 0, 10, 100, 30, 0, 1, 1, 0.001)
    assert (model.training_settings.clip_generator, model.training_settings.clip_discriminator) == (1.0, 1.0)
    (stage,) = model.stages()
    assert (stage.update, stage.iterations, stage.recompute) == ("generator_first", 1_000_000, False)


@pytest.mark.parametrize(("variant", "per_step"), [("paper", 1), ("official", 2)])
def test_the_official_discriminator_uses_a_second_forward(variant: str, per_step: int) -> None:
    model = make(variant=variant, weights=Weights(segmentation_perceptual=0.0))
    make_trainer(2).fit(model, loader(make_batches(2, size=32)))
    norm = model.generator.encoder[0][1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert int(norm.num_batches_tracked) == 2 * per_step


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("convolution", ["fourier", "regular"])
def test_trains_through_the_engine(convolution: str, precision: str, tmp_path: Path, batch: Batch) -> None:
    model, outputs = make(convolution=convolution, weights=Weights(hole=1, segmentation_perceptual=0)), Outputs()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = make_trainer(1, outputs, precision=precision)
    trainer.fit(model, loader(make_batches(1, size=32)))
    assert all(value.isfinite() for value in outputs.seen[0].values())
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters() if "encoder.0.0.bias" not in name)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = lit_inpaint.load(tmp_path / "last.ckpt")
    assert isinstance(again, LaMa)
    with torch.no_grad():
        found, expected = (m.eval()(batch["image"], batch["mask"]).image for m in (again, model))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_a_resumed_run_equals_the_uninterrupted_one(variant: str, tmp_path: Path) -> None:
    batches, states = make_batches(1, size=32) * 4, []  # a list has no state to resume from
    for stops in ((4,), (2, 4)):
        for number, stop in enumerate(stops):
            model = make(variant=variant, weights=Weights(hole=1.0, segmentation_perceptual=0.0))
            trainer = make_trainer(stop)
            checkpoint = tmp_path / "x.ckpt" if number else None
            trainer.fit(model, loader(batches), ckpt_path=checkpoint, weights_only=True if number else None)
            trainer.save_checkpoint(tmp_path / "x.ckpt")
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_overfits_two_images() -> None:
    image, mask = torch.cat([photograph(pixels) for pixels in (data.astronaut(), data.chelsea())]), torch.zeros(2, 1, 32, 32)
    mask[..., 10:22, 10:22] = 1
    batch = Batch(image=image, mask=mask, name=["astronaut", "cat"])
    weights = Weights(hole=10.0, adversarial=0.1, feature_matching=1.0, segmentation_perceptual=0.0)
    model = make(width=8, weights=weights, generator_optimizer=Adam(lr=5e-3))
    make_trainer(60).fit(model, loader([batch] * 60))
    assert float(psnr(model.eval().complete(image, mask), image).mean()) > 30  # 20.4 at first, 33.6 when measured


def photograph(pixels: NDArray[Any]) -> Tensor:
    image = torch.from_numpy(pixels).permute(2, 0, 1).float()[None] / 255
    side = min(image.shape[2:])
    return interpolate(image[:, :, :side, :side], size=(32, 32), mode="area")


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write`."""
    expected, found = golden.read("lama"), golden.measure("lama")
    assert found.keys() == expected.keys()
    assert found.keys() >= {"valid", "hole", "adversarial", "feature_matching", "real", "fake", "r1"}
    for term, values in found.items():
        assert values == pytest.approx(expected[term], rel=1e-3), term
