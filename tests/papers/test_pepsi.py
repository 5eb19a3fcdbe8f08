"""PEPSI against its layer tables and published counts, and the network and losses by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
import torch
from skimage import data
from tiny_gan import Outputs, loader, make_batches, make_trainer
from torch import Tensor, nn
from torch.nn.functional import conv2d, elu, interpolate, pad

import lit_inpaint
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.metrics import psnr
from lit_inpaint.nets.contextual_attention import truncated_distance_attention
from lit_inpaint.papers import PEPSI
from lit_inpaint.papers.pepsi import RegionEnsembleDiscriminator, RegionHead, Weights
from lit_inpaint.published import tables
from lit_inpaint.schedules import Clock, Linear, value_at
from lit_inpaint.settings import Adam
from lit_inpaint.types import Batch, Terms

PARITY = Path(__file__).parent / "parity"
VARIANTS: dict[str, dict[str, Any]] = {
    "dense": {},
    "official": {"variant": "official"},
    "separable": {"separable": True},
    **{f"diet {diet}": {"diet": diet} for diet in ("bias", "channel", "pair", "unit")},
}
of_each_variant = pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS)


def make(size: int = 32, **arguments: Any) -> PEPSI:
    """Build a network of an eighth of the paper's widths."""
    torch.manual_seed(0)
    model = PEPSI(size=size, width=4, discriminator_width=8, **arguments)
    with torch.no_grad():  # biases start at 0, which would hide their effect
        for name, p in model.named_parameters():
            if name.endswith(("bias", "shift")):
                p.normal_(0, 0.01 if "head" in name else 0.1)  # RED's last ones must stay below the hinge
    return model


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


# Counts and layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("separable", "method"), [(False, "PEPSI"), (True, "PEPSI depthwise-separable")])
def test_published_parameter_counts(separable: bool, method: str) -> None:
    assert PEPSI.published_as[method] == {"width": 32, "separable": separable, "diet": None}
    model = PEPSI(separable=separable)
    (table,) = tables("pepsi")
    g = model.generator
    found = {
        "encoder": count(g.encoder),
        "attention": count(g.attention),
        "decoder": count(g.decoder),
        "discriminator": count(model.discriminator),
        "total": count(model),
    }
    assert found == {name: table.figures[method]["all"][name] for name in found}


@pytest.mark.parametrize(
    ("diet", "exact"),
    [(None, 3_656_947), ("bias", 1_887_475), ("channel", 1_889_523), ("pair", 2_411_763), ("unit", 2_674_931)],
)
def test_parameters_of_the_diets(diet: Any, exact: int) -> None:
    assert count(PEPSI(diet=diet).generator) == exact


def test_separable_and_diet_raise() -> None:
    with pytest.raises(UserError, match=r"diet=pair .* separable=True"):
        PEPSI(separable=True, diet="pair")


def layers_of(module: nn.Module) -> list[tuple[int, ...]]:
    return [
        (c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.dilation[0])
        for c in module.modules()
        if isinstance(c, nn.Conv2d)
    ]


def test_layers() -> None:
    """Tables a, b and c."""
    model = PEPSI()
    assert layers_of(model.generator.encoder) == [
        (6, 32, 5, 1, 1),
        (32, 64, 3, 2, 1),
        (64, 64, 3, 1, 1),
        (64, 128, 3, 2, 1),
        (128, 128, 3, 1, 1),
        (128, 256, 3, 2, 1),
        *((256, 256, 3, 1, dilation) for dilation in (2, 4, 8, 16)),
    ]
    pairs = [(256, 128), (128, 128), (128, 64), (64, 64), (64, 32), (32, 32), (32, 16), (16, 16), (16, 3)]
    assert layers_of(model.generator.decoder) == [(*widths, 3, 1, 1) for widths in pairs]
    widths = [(3, 64), (64, 128), (128, 256), (256, 256), (256, 256), (256, 512)]
    assert layers_of(model.discriminator) == [(*pair, 5, 2, 1) for pair in widths]


def test_resolutions_inside() -> None:
    generator, sizes = make().generator, list[int]()
    for module in (*generator.encoder, generator.attention, *(layer for layer in generator.decoder if layer_learns(layer))):
        module.register_forward_hook(lambda module, args, output: sizes.append(output.shape[-1]))
    with torch.no_grad():
        generator(torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64), coarse=False)
    assert sizes == [64, 32, 32, 16, 16, 8, 8, 8, 8, 8, 8, 8, 8, 16, 16, 32, 32, 64, 64, 64]


def layer_learns(layer: nn.Module) -> bool:
    return any(True for _ in layer.parameters())


@of_each_variant
@pytest.mark.parametrize("size", [(32, 32), (48, 64)])
def test_output_shapes(size: tuple[int, int], arguments: dict[str, Any]) -> None:
    model = make(**arguments)
    image, mask = torch.rand(2, 3, *size), torch.zeros(2, 1, *size)
    with torch.no_grad():
        prediction = model(image, mask)
        assert prediction.image.shape == (2, 3, *size)
        assert {name: stage.shape for name, stage in prediction.stages.items()} == {"coarse": (2, 3, *size)}
        assert dict(model.eval()(image, mask).stages) == {}, "the coarse path runs in training only"


@pytest.mark.parametrize("size", [(1, 1), (9, 40), (37, 53), (64, 64)])
def test_complete_takes_any_size(size: tuple[int, int]) -> None:
    image, mask = torch.rand(2, 3, *size), (torch.rand(2, 1, *size) > 0.6).float()
    completed = make().eval().complete(image, mask)
    assert completed.shape == image.shape
    assert torch.equal(completed * (1 - mask), image * (1 - mask))
    assert completed.isfinite().all()


# The whole network by hand --------------------------------------------------------------------------------------------------


def official_generator(weights: dict[str, Tensor], image: Tensor, mask: Tensor, squared: bool, clip: bool) -> list[Tensor]:
    """Compute the layers of the public code in plain functions, one sample at a time; image in [0, 1], mask 1 = hole."""

    def layer(x: Tensor, name: str, stride: int = 1, dilation: int = 1) -> Tensor:
        w = weights[f"{name}.weight"]
        margin = w.shape[-1] // 2 * dilation
        x = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="reflect"))
        return elu(conv2d(x, w, weights[f"{name}.bias"], stride, 0, dilation))

    def decode(x: Tensor) -> Tensor:
        for number, position in enumerate((0, 1, 3, 4, 6, 7, 9, 10)):
            if number and number % 2 == 0:
                x = interpolate(x, scale_factor=2, mode="nearest")
            x = layer(x, f"decoder.{position}.convolution")
        x = conv2d(pad(x, (1, 1, 1, 1)), weights["decoder.12.weight"], weights["decoder.12.bias"])
        return (x.clamp(-1, 1) if clip else x) / 2 + 0.5

    known = 1 - mask
    x = torch.cat([2 * (image * known) - 1, known, known, known], dim=1)  # holes are black, which is -1
    for position, (stride, dilation) in enumerate(
        [(1, 1), (2, 1), (1, 1), (2, 1), (1, 1), (2, 1), *((1, 2**k) for k in (1, 2, 3, 4))]
    ):
        x = layer(x, f"encoder.{position}.convolution", stride, dilation)
    attended = truncated_distance_attention(x, known[:, :, ::8, ::8], 50.0, squared)
    fused = layer(torch.cat([x, attended], dim=1), "attention.fuse.convolution")
    return [decode(fused), decode(x)]


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_generator_by_hand(variant: Any, batch: Batch) -> None:
    model = make(variant=variant).double()
    with torch.no_grad():
        model.generator.decoder[-1].weight.mul_(8)  # outputs that leave the range
        model.generator.attention.fuse.convolution.weight.mul_(3)
        prediction = model(batch["image"].double(), batch["mask"].double())
        for number in range(2):
            image, mask = (batch[key][number : number + 1].double() for key in ("image", "mask"))
            weights = {name: tensor.clone() for name, tensor in model.generator.state_dict().items()}
            official = variant == "official"
            found = official_generator(weights, image, mask, squared=official, clip=official)
            torch.testing.assert_close(prediction.image[number : number + 1], found[0], atol=1e-10, rtol=0)
            torch.testing.assert_close(prediction.stages["coarse"][number : number + 1], found[1], atol=1e-10, rtol=0)
    outside = (prediction.image < 0) | (prediction.image > 1)
    assert bool(outside.any()) == (variant == "paper"), "only the public code clips"


def test_separable_generator_equals_a_dense_one_with_products_as_weights(batch: Batch) -> None:
    separable, dense = make(separable=True).double(), make().double()
    weights: dict[str, Tensor] = {}
    for name, tensor in separable.generator.state_dict().items():
        if name.endswith("depthwise.weight"):
            stem = name.removesuffix("depthwise.weight")
            halves = {part: separable.generator.get_submodule(f"{stem}{part}") for part in ("depthwise", "pointwise")}
            depthwise, pointwise = ({key: p.detach() for key, p in half.named_parameters()} for half in halves.values())
            weights[f"{stem}weight"] = pointwise["weight"] * depthwise["weight"][:, 0]
            weights[f"{stem}bias"] = pointwise["bias"] + (pointwise["weight"][:, :, 0, 0] * depthwise["bias"]).sum(1)
        elif "wise." not in name:
            weights[name] = tensor
    dense.generator.load_state_dict(weights)
    with torch.no_grad():
        found, expected = (model(batch["image"].double(), batch["mask"].double()) for model in (separable, dense))
    torch.testing.assert_close(found.image, expected.image, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.stages["coarse"], expected.stages["coarse"], atol=1e-10, rtol=0)


@pytest.mark.parametrize("diet", ["bias", "channel", "pair"])
def test_diet_equals_a_network_with_scaled_and_shifted_weights(diet: Any, batch: Batch) -> None:
    diets, dense = make(diet=diet).double(), make().double()
    state = diets.generator.state_dict()
    shared = {name: tensor for name, tensor in state.items() if not name.startswith("encoder.6.")}
    for number in range(4):
        own = {name.rsplit(".", 1)[1]: tensor for name, tensor in state.items() if f"rates.{number}." in name}
        if diet != "bias":
            own["scale"].normal_()
        scale, shift = own.get("scale", torch.tensor(1.0)), own.get("shift", torch.tensor(0.0))
        shared[f"encoder.{6 + number}.convolution.weight"] = scale * state["encoder.6.weight"] + shift
        shared[f"encoder.{6 + number}.convolution.bias"] = own["bias"]
    dense.generator.load_state_dict(shared)
    with torch.no_grad():
        found, expected = (model(batch["image"].double(), batch["mask"].double()) for model in (diets, dense))
    torch.testing.assert_close(found.image, expected.image, atol=1e-10, rtol=0)


def test_initial_scale_and_shift_do_not_change_the_shared_weight() -> None:
    for name, p in PEPSI(diet="unit").generator.encoder.named_parameters():
        if name.endswith("scale"):
            assert torch.equal(p, torch.ones(256, 256, 1, 1))
        if name.endswith("shift"):
            assert torch.equal(p, torch.zeros(256, 256, 1, 1))


# RED ------------------------------------------------------------------------------------------------------------------------


def test_red_by_hand() -> None:
    red = make(size=128).double().eval().discriminator
    x = image = 2 * torch.rand(2, 3, 128, 128, dtype=torch.float64) - 1
    with torch.no_grad():
        for layer in red.convolutions:
            x = conv2d(pad(x, (1, 2, 1, 2)), layer.weight, layer.bias, 2)
            x = torch.maximum(x, 0.2 * x)
        unit = red.head.weight / red.head.weight.square().sum(1, keepdim=True).sqrt()
        expected = [[float(x[b, :, i, j] @ unit[2 * i + j]) for i in (0, 1) for j in (0, 1)] for b in (0, 1)]
        torch.testing.assert_close(red(image), torch.tensor(expected, dtype=torch.float64) + red.head.bias)


def test_head_parity() -> None:
    """The toy head of pepsi_cam.npz: 2 x 2 positions, 3 channels, the bias once per channel as in the public code."""
    with np.load(PARITY / "pepsi_cam.npz") as file:
        toy = {name: torch.from_numpy(file[f"R_{name}"]) for name in ("feature", "weight", "bias", "out")}
    head = RegionHead(4, 3, bias_factor=3).double()
    head.load_state_dict({"weight": toy["weight"], "bias": toy["bias"].flatten()})
    with torch.no_grad():
        found = head(toy["feature"].permute(2, 0, 1)[None])
    torch.testing.assert_close(found, toy["out"].reshape(1, 4), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("size", "heads"), [(256, 16), (128, 4), (64, 1), (32, 1), (96, 4)])
def test_a_head_for_each_region(size: int, heads: int) -> None:
    red = RegionEnsembleDiscriminator(size, 4, separable=False, bias_in_each_channel=False)
    with torch.no_grad():
        assert red(torch.rand(2, 3, size, size)).shape == (2, heads)


def test_bias_in_each_channel() -> None:
    paper, official = (RegionEnsembleDiscriminator(32, 4, False, twice).eval() for twice in (False, True))
    official.load_state_dict(paper.state_dict())
    for red in (paper, official):
        nn.init.constant_(red.head.bias, 0.5)
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert float(official(image) - paper(image)) == pytest.approx(0.5 * (32 - 1))


def test_images_of_another_size_raise() -> None:
    with pytest.raises(UserError, match=r"256x256 images .* 64x64 .*--model\.size 64 or --data\.size 256"):
        RegionEnsembleDiscriminator(256, 4, False, False)(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize("separable", [False, True])
def test_spectral_norm_is_everywhere(separable: bool) -> None:
    """Seven times the weights give the same scores after enough power iterations."""
    torch.manual_seed(0)
    red = RegionEnsembleDiscriminator(32, 4, separable, False)
    image, scores = torch.rand(2, 3, 32, 32), list[Tensor]()
    with torch.no_grad():
        for factor in (1, 7):
            for name, p in red.named_parameters():
                if "bias" not in name:
                    p.mul_(factor)
            for _ in range(150):
                red(image)
            scores.append(red(image))
    torch.testing.assert_close(scores[1], scores[0], atol=1e-4, rtol=1e-3)


# Range, polarity, losses ----------------------------------------------------------------------------------------------------


def evaluated(terms: Terms) -> dict[str, Tensor]:
    return {name: term() if callable(term) else term for name, term in terms.items()}


def test_losses(batch: Batch) -> None:
    model = make(size=32).double()
    model.discriminator.eval()  # no power iteration between the two computations
    batch = Batch(image=batch["image"].double(), mask=batch["mask"].double(), name=batch["name"])
    mask = batch["mask"]
    with torch.no_grad():
        prediction = model(batch["image"], mask)
        generator = evaluated(model.generator_losses(batch, prediction))
        discriminator = evaluated(model.discriminator_losses(batch, prediction))
        target = 2 * batch["image"] - 1
        image, coarse = 2 * prediction.image - 1, 2 * prediction.stages["coarse"] - 1
        real, fake = (model.discriminator(x) for x in (target, image * mask + target * (1 - mask)))
    n = target.numel()  # all pixels, known ones too, times channels; in [-1, 1]
    expected = {
        "l1": (image - target).abs().sum() / n,
        "coarse": (coarse - target).abs().sum() / n,
        "adversarial": -fake.sum() / fake.numel(),
    }
    assert generator.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(generator[name], value, msg=name)
    zero = torch.zeros_like(real)
    expected = {"real": torch.maximum(zero, 1 - real).mean(), "fake": torch.maximum(zero, 1 + fake).mean()}
    assert discriminator.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(discriminator[name], value, msg=name)


def test_weights() -> None:
    assert Weights() == Weights(l1=10.0, coarse=Linear(5.0), adversarial=0.1, real=1.0, fake=1.0)
    weights = make().weights
    assert weights == Weights()
    assert isinstance(weights, Weights)
    found = [value_at(weights.coarse, Clock(k, 1_000_000)) for k in (0, 1, 250_000, 999_999)]
    assert found == pytest.approx([5 * (1 - k / 1_000_000) for k in (0, 1, 250_000, 999_999)])


@of_each_variant
def test_every_parameter_gets_a_gradient(arguments: dict[str, Any], batch: Batch) -> None:
    model = make(**arguments)
    prediction = model(batch["image"], batch["mask"])
    sum(evaluated(model.generator_losses(batch, prediction)).values()).backward()
    dead = [name for name, p in model.generator.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
    model.discriminator.zero_grad()
    # The two hinge terms have opposite gradients for the last bias, so their sum may be exactly 0.
    model.discriminator_losses(batch, prediction.detach())["real"].backward()
    dead = [name for name, p in model.discriminator.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_the_coarse_path_learns_without_red_and_shares_the_decoder(batch: Batch) -> None:
    model = make()
    prediction = model(batch["image"], batch["mask"])
    evaluated(model.generator_losses(batch, prediction))["coarse"].backward()
    assert all(p.grad is not None for p in model.generator.decoder.parameters())
    assert all(p.grad is None or not p.grad.any() for p in model.generator.attention.parameters())
    assert all(p.grad is None for p in model.discriminator.parameters())


# Training -------------------------------------------------------------------------------------------------------------------


def test_training_as_in_the_public_code() -> None:
    model = make()
    assert model.generator_optimizer == Adam(lr=1e-4, betas=(0.5, 0.9))
    assert model.discriminator_optimizer == Adam(lr=4e-4, betas=(0.5, 0.9))
    (stage,) = model.stages()
    assert (stage.update, stage.d_steps, stage.generator, stage.discriminator) == ("alternating", 1, True, True)
    assert model.training_settings.clip_generator is None
    assert model.training_settings.clip_discriminator is None


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@of_each_variant
def test_trains_through_the_engine(arguments: dict[str, Any], precision: str) -> None:
    model, outputs = make(**arguments), Outputs()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    make_trainer(2, outputs, precision=precision).fit(model, loader(make_batches(2, size=32)))
    assert outputs.seen[0].keys() == {*vars(Weights()), "generator", "discriminator"}
    for seen, coarse in zip(outputs.seen, (5.0, 2.5), strict=True):
        assert all(value.isfinite() for value in seen.values())
        total = 10 * seen["l1"] + coarse * seen["coarse"] + 0.1 * seen["adversarial"]
        torch.testing.assert_close(seen["generator"], total)
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters() if "bias" not in name)


@of_each_variant
def test_checkpoints(arguments: dict[str, Any], tmp_path: Path, batch: Batch) -> None:
    model = make(**arguments)
    trainer = make_trainer(1)
    trainer.fit(model, loader(make_batches(1, size=32)))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = lit_inpaint.load(tmp_path / "last.ckpt")
    assert isinstance(again, PEPSI)
    assert dict(again.hparams) == dict(model.hparams)
    assert isinstance(again, Inpainter)
    with torch.no_grad():
        found, expected = (m.eval()(batch["image"], batch["mask"]).image for m in (again, model))
    assert torch.equal(found, expected)


def test_overfits_two_images() -> None:
    """The report's experiment, smaller: one batch with a central hole of half the side."""
    image = torch.cat([photograph(pixels) for pixels in (data.astronaut(), data.chelsea())])
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    batch = Batch(image=image, mask=mask, name=["astronaut", "cat"])
    torch.manual_seed(0)
    model = PEPSI(size=32, width=8, discriminator_width=8, generator_optimizer=Adam(lr=2e-3, betas=(0.5, 0.9)))
    make_trainer(150).fit(model, loader([batch] * 150))
    assert float(psnr(model.eval().complete(image, mask), image).mean()) > 23  # 18 at first


def photograph(pixels: np.ndarray[Any, Any]) -> Tensor:
    image = torch.from_numpy(pixels).permute(2, 0, 1).float()[None] / 255
    side = min(image.shape[2:])
    return interpolate(image[:, :, :side, :side], size=(32, 32), mode="area")


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write`."""
    expected, found = golden.read("pepsi"), golden.measure("pepsi")
    assert found.keys() == expected.keys() == {*vars(Weights()), "generator", "discriminator"}
    for term, values in found.items():
        assert len(values) == golden.STEPS
        assert values == pytest.approx(expected[term], rel=1e-3), term
