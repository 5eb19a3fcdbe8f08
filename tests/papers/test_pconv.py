"""PConv against Table I, the public PyTorch network, and losses by hand."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import golden
import parity_fixtures as parity
import pytest
import torch
from tiny_gan import Outputs, loader, make_batches, make_trainer
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

import lit_inpaint
from lit_inpaint.errors import UserError
from lit_inpaint.losses.vgg_features import VGGFeatures, layer_names
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers
from lit_inpaint.nets.cpu.partial_convolution import CPUPartialConv2d
from lit_inpaint.nets.partial_conv import PartialConv2d
from lit_inpaint.papers import PConv
from lit_inpaint.papers.pconv import Bias, Head, PConvUNet, Variant, Weights
from lit_inpaint.settings import Adam, Stage
from lit_inpaint.types import Batch, Prediction, composite

ONE_STAGE = (Stage("initial", discriminator=False),)
NO_VGG = Weights(perceptual=0.0, style=0.0)


def make(**arguments: Any) -> PConv:
    """Build a small network with a random VGG; `arguments` override."""
    torch.manual_seed(0)
    return PConv(**{"levels": 4, "width": 8, "vgg": "random", **arguments})


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# The network ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "bias", "head", "exact"),
    [
        (8, "none", "linear", 32_859_729),  # Table I read literally
        (8, "last", "linear", 32_859_732),  # naoto0804
        (8, "everywhere", "linear", 32_865_236),
        (8, "everywhere", "sigmoid", 32_865_248),  # the Keras port; its batch norm statistics not counted
        (7, "last", "linear", 25_779_796),  # naoto0804's default
    ],
)
def test_parameter_counts(levels: int, bias: Bias, head: Head, exact: int) -> None:
    with torch.device("meta"):
        assert count(PConvUNet(levels, bias=bias, head=head)) == exact


def test_table_1_is_the_default() -> None:
    model = PConv()
    assert count(model.generator) == 32_859_732
    assert model.discriminator is None
    assert PConv.published_as == {"PConv": {"levels": 8, "width": 64}}


TABLE_I = [
    # filter, channels in, channels out, stride, batch norm, activation
    *[(7, 3, 64, 2, False, "ReLU"), (5, 64, 128, 2, True, "ReLU"), (5, 128, 256, 2, True, "ReLU")],
    *[(3, 256, 512, 2, True, "ReLU"), *[(3, 512, 512, 2, True, "ReLU")] * 4],
    *[(3, 512 + 512, 512, 1, True, "LeakyReLU")] * 4,
    *[(3, 512 + 256, 256, 1, True, "LeakyReLU"), (3, 256 + 128, 128, 1, True, "LeakyReLU")],
    *[(3, 128 + 64, 64, 1, True, "LeakyReLU"), (3, 64 + 3, 3, 1, False, "Identity")],
]


def test_table_1() -> None:
    with torch.device("meta"):
        network = PConvUNet()
    found = []
    for level in (*network.encoder, *network.decoder):
        conv = level.partial.conv
        assert (level.partial.padding, level.partial.stride) == (conv.kernel_size[0] // 2, conv.stride[0])
        assert conv.padding == (level.partial.padding,) * 2
        norm = isinstance(level.norm, nn.BatchNorm2d)
        found.append(
            (
                *conv.kernel_size[:1],
                conv.in_channels,
                conv.out_channels,
                *conv.stride[:1],
                norm,
                type(level.activation).__name__,
            )
        )
        if isinstance(level.activation, nn.LeakyReLU):
            assert level.activation.negative_slope == 0.2
    assert found == TABLE_I
    assert isinstance(network.head, nn.Identity)


def test_forward_pass_by_hand() -> None:
    """Three levels step by step: concatenated features and masks, the layer with a mask for each channel."""
    torch.manual_seed(0)
    network = PConvUNet(3, width=4).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean if layer.running_mean is not None else torch.empty(0))
            nn.init.normal_(layer.bias)
    image, known = torch.rand(2, 3, 24, 24), torch.ones(2, 1, 24, 24)
    known[:, :, 3:20, 5:23] = 0
    steps = [(image, known.expand(-1, 3, -1, -1))]

    def through(level: nn.Module, x: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(level.partial, PartialConv2d)
        x, m = level.partial(x, m)
        return level.activation(level.norm(x)), m.expand(-1, x.shape[1], -1, -1)

    with torch.no_grad():
        for level in network.encoder:
            steps.append(through(level, *steps[-1]))
        x, m = steps.pop()
        for level in network.decoder:
            skip, skip_m = steps.pop()
            x, m = (y.repeat_interleave(2, 2).repeat_interleave(2, 3) for y in (x, m))
            x, m = through(level, torch.cat([x, skip], 1), torch.cat([m, skip_m], 1))
        found = network(image * known, known)
    torch.testing.assert_close(found, x, atol=1e-5, rtol=1e-5)
    assert m.all()


@pytest.mark.parametrize("size", [(32, 32), (48, 64), (37, 53), (1, 5)])
def test_output_shape(size: tuple[int, int]) -> None:
    with torch.no_grad():
        prediction = make().eval()(torch.rand(2, 3, *size), torch.zeros(2, 1, *size))
    assert prediction.image.shape == (2, 3, *size)
    assert dict(prediction.stages) == {}


def test_any_size_is_completed() -> None:
    image, mask = torch.rand(1, 3, 45, 70), torch.zeros(1, 1, 45, 70)
    mask[..., 10:30, 50:] = 1
    done = make().eval().complete(image, mask)
    assert done.shape == image.shape
    assert torch.equal(done * (1 - mask), image * (1 - mask))
    assert not torch.equal(done, image)
    assert done.min() >= 0
    assert done.max() <= 1


def test_output_of_an_image_without_known_pixels_is_finite() -> None:
    with torch.no_grad():
        image = make().eval()(torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)).image
    assert image.isfinite().all()


def test_batches_are_not_changed(batch: Batch) -> None:
    model, before = make(weights=NO_VGG), {key: batch[key].clone() for key in ("image", "mask")}
    model.generator_losses(batch, model(batch["image"], batch["mask"]))
    assert all(torch.equal(batch[key], value) for key, value in before.items())


def test_raw_output_is_not_composited(batch: Batch) -> None:
    with torch.no_grad():
        image = make()(batch["image"], batch["mask"]).image
    assert not torch.isclose(image, batch["image"]).all(dim=1).any()


def test_range() -> None:
    """Outputs are normalized: 0 is ImageNet's mean color, unless the head is a sigmoid."""
    for head, expected in (("linear", [0.485, 0.456, 0.406]), ("sigmoid", [0.5, 0.5, 0.5])):
        model = make(head=head)
        for parameter in model.generator.parameters():
            nn.init.zeros_(parameter)
        image = model(torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)).image
        torch.testing.assert_close(image, torch.tensor(expected).view(1, 3, 1, 1).expand_as(image))
    seen: list[Tensor] = []
    model = make()
    model.generator.register_forward_pre_hook(lambda module, inputs: seen.extend(inputs))
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., :16] = 1
    model(torch.ones(2, 3, 32, 32), mask)
    torch.testing.assert_close(
        seen[0][0, :, 0, 20], (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    )
    assert not seen[0][..., :16].any(), "holes are 0 after normalization"
    assert torch.equal(seen[1], 1 - mask), "the network's masks are 1 for known pixels"


def test_kernels_have_he_initialization() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PConvUNet(5, bias="everywhere")
    for level in (*network.encoder, *network.decoder):
        weight = level.partial.conv.weight
        if weight.numel() > 5000:
            assert float(weight.detach().std()) == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.05)
        assert not level.partial.bias.any()


# Losses -----------------------------------------------------------------------------------------------------------------------


def vgg_by_hand(vgg: VGGFeatures, image: Tensor) -> list[Tensor]:
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (image - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    state, pools = vgg.load().network.state_dict(), []
    for number, name in enumerate(layer_names(16)):
        if name.startswith("conv"):
            x = torch.conv2d(x, state[f"layers.{number}.weight"], state[f"layers.{number}.bias"], padding=1)
        elif name.startswith("relu"):
            x = relu(x)
        else:
            x = max_pool2d(x, 2)
            pools.append(x)
        if name == "pool3":
            break
    return pools


def gram(x: Tensor) -> Tensor:
    return torch.einsum("bihw,bjhw->bij", x, x) / x[0].numel()


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_losses(variant: Variant, batch: Batch) -> None:
    model = make(variant=variant)
    with torch.no_grad():
        prediction = model(batch["image"], batch["mask"])
        terms = model.generator_losses(batch, prediction)
        found = {name: term() if callable(term) else term for name, term in terms.items()}
    image, output, mask = batch["image"], prediction.image, batch["mask"]
    complete, n = image * (1 - mask) + output * mask, image.numel()
    error, whole, region = (output - image).abs(), complete, torch.ones_like(mask)
    if variant == "official":
        error, whole = error / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), model.normalization(complete)
    else:
        region[0], region[1] = 0, 0
        region[0, :, 7:25, 7:25], region[1, :, :, :11] = 1, 1
    down = (whole[:, :, 1:] - whole[:, :, :-1]).abs() * region[:, :, 1:] * region[:, :, :-1]
    right = (whole[..., 1:] - whole[..., :-1]).abs() * region[..., 1:] * region[..., :-1]
    target, others = vgg_by_hand(model.vgg, image), [vgg_by_hand(model.vgg, x) for x in (output, complete)]
    expected = {
        "valid": (error * (1 - mask)).sum() / n,
        "hole": (error * mask).sum() / n,
        "perceptual": sum((a - b).abs().mean() for of_one in others for a, b in zip(of_one, target, strict=True)),
        "style": sum((gram(a) - gram(b)).abs().mean() for of_one in others for a, b in zip(of_one, target, strict=True)),
        "tv": down.mean() + right.mean(),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name, rtol=1e-4, atol=1e-7)


def test_weights_are_the_papers() -> None:
    assert Weights() == Weights(valid=1.0, hole=6.0, perceptual=0.05, style=120.0, tv=0.1)
    assert make().weights == Weights()


def test_parity_of_the_losses_with_naoto0804() -> None:
    metadata = parity.metadata("pconv_losses")["naoto"]
    model = make(variant="official")
    for name, value in model.vgg.load().network.state_dict().items():
        value.copy_(parity.fill(name.replace("layers", "features"), value.shape, gain=2**0.5))
    output = parity.image(64, 7, 2).requires_grad_()
    data = Batch(image=parity.image(64, 0, 2), mask=parity.mask(64, 1, 2), name=["a", "b"])
    terms = model.generator_losses(data, Prediction(output))
    found = {name: term() if callable(term) else term for name, term in terms.items()}
    total = torch.zeros(())
    for ours, theirs in (("valid", "valid"), ("hole", "hole"), ("perceptual", "prc"), ("style", "style"), ("tv", "tv")):
        assert float(found[ours].detach()) == pytest.approx(metadata["raw"][theirs], rel=1e-5), ours
        assert getattr(model.weights, ours) == metadata["weights"][theirs]
        total = total + metadata["weights"][theirs] * found[ours]
    assert float(total.detach()) == pytest.approx(metadata["total"], rel=1e-5)
    (gradient,) = torch.autograd.grad(total, output)  # the public gradient is with respect to the normalized image
    assert float((gradient * model.normalization.std).norm()) == pytest.approx(metadata["grad_out_l2"], rel=1e-4)


@pytest.mark.parametrize("arguments", [{}, {"variant": "official", "bias": "everywhere", "head": "sigmoid"}])
def test_every_parameter_gets_a_gradient(arguments: dict[str, Any], batch: Batch) -> None:
    model = make(**arguments)
    prediction = model(batch["image"], batch["mask"])
    terms = model.generator_losses(batch, prediction)
    sum(term() if callable(term) else term for term in terms.values()).backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
    assert all(p.grad is None for p in model.vgg.load().network.parameters())


# Training ---------------------------------------------------------------------------------------------------------------------


def test_two_stages_as_in_section_5() -> None:
    model = make()
    first, second = model.stages()
    assert model.generator_optimizer == Adam(lr=2e-4)
    assert (first.iterations, first.generator_optimizer) == (65_000, None)
    assert (second.iterations, second.generator_optimizer, second.fresh_optimizers) == (50_000, Adam(lr=5e-5), True)
    for stage in (first, second):
        assert (stage.generator, stage.discriminator, stage.frozen, stage.eval_modules) == (True, False, (), ())
    first, second = make(freeze_bn_stats=True).stages()
    assert (first.eval_modules, second.eval_modules) == ((), ("generator.encoder.*.norm",))


@pytest.mark.parametrize("freeze_bn_stats", [False, True])
def test_stages_through_the_engine(freeze_bn_stats: bool) -> None:
    """Two batches at 2e-4, two at 5e-5; `freeze_bn_stats` freezes the encoder's statistics in the latter, and only these."""
    stages = tuple(dataclasses.replace(stage, iterations=2) for stage in PConv().stages())
    model = make(freeze_bn_stats=freeze_bn_stats, stages=stages, weights=NO_VGG)
    log, rates, statistics = Outputs(), [], []

    class Watch(Outputs):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            (generator,) = [o for o in trainer.optimizers if o.state] if len(trainer.optimizers) > 1 else trainer.optimizers
            rates.append(generator.param_groups[0]["lr"])
            norms = [pl_module.generator.encoder[1].norm, pl_module.generator.decoder[0].norm]
            statistics.append([norm.running_mean.clone() for norm in norms])
            statistics[-1].append(norms[0].weight.detach().clone())

    make_trainer(100, log, Watch()).fit(model, loader(make_batches(6, size=32)))
    assert rates == [2e-4, 2e-4, 5e-5, 5e-5]
    assert [set(row) for row in log.seen] == [{"valid", "hole", "tv", "generator"}] * 4, "terms without weight cost nothing"
    moved = [[not torch.equal(a, b) for a, b in zip(x, y, strict=True)] for x, y in pairwise(statistics)]
    assert moved[0] == [True, True, True]
    assert moved[1:] == [[not freeze_bn_stats, True, True]] * 2, "scale and shift stay trainable"


VARIANTS: list[dict[str, Any]] = [
    {},
    {"variant": "official"},
    {"bias": "none"},
    {"bias": "everywhere", "head": "sigmoid"},
    {"levels": 1},
    {"levels": 5, "width": 4},
    {"weights": NO_VGG},
]


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
def test_every_variant_trains(arguments: dict[str, Any]) -> None:
    model, log = make(stages=ONE_STAGE, **arguments), Outputs()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    make_trainer(1, log).fit(model, loader(make_batches(1, size=32)))
    assert all(value.isfinite() for value in log.seen[0].values())
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_the_generator_total_is_the_weighted_sum() -> None:
    log = Outputs()
    make_trainer(1, log).fit(make(stages=ONE_STAGE), loader(make_batches(1, size=32)))
    row = {name: float(value) for name, value in log.seen[0].items()}
    assert row["generator"] == pytest.approx(
        row["valid"] + 6 * row["hole"] + 0.05 * row["perceptual"] + 120 * row["style"] + 0.1 * row["tv"]
    )


def test_missing_vgg_weights_stop_a_run_before_its_first_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path))
    log = Outputs()
    with pytest.raises(UserError, match=r"vgg16-397923af.pth.*lit_inpaint.fetch vgg16.*random"):
        make_trainer(1, log).fit(make(vgg="imagenet", stages=ONE_STAGE), loader(make_batches(1, size=32)))
    assert not log.seen
    make_trainer(1, log).fit(make(vgg="imagenet", stages=ONE_STAGE, weights=NO_VGG), loader(make_batches(1, size=32)))
    assert len(log.seen) == 1, "without these losses no weights are needed"
    only_later = (
        Stage("a", discriminator=False, iterations=1),
        Stage("b", discriminator=False, weights={"style": 1.0}),
    )
    with pytest.raises(UserError, match="vgg16"):
        make_trainer(1, log).fit(make(vgg="imagenet", stages=only_later, weights=NO_VGG), loader(make_batches(1, size=32)))
    assert make(vgg="imagenet").eval().complete(torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)).shape == (1, 3, 16, 16)


def test_random_vgg_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        make_trainer(1).fit(make(stages=ONE_STAGE), loader(make_batches(1, size=32)))
    assert "VGG-16 with RANDOM weights" in caplog.text


def test_one_image_shrunk_to_one_pixel_raises() -> None:
    image, mask = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    model = make(levels=5)
    with pytest.raises(UserError, match=r"5 levels.*--data.batch_size"):
        model(image, mask)
    assert make(levels=4)(image, mask).image.isfinite().all()
    assert model.eval()(image, mask).image.isfinite().all()


def test_checkpoint_without_vgg(tmp_path: Path) -> None:
    model = make(variant="official", bias="everywhere", stages=ONE_STAGE)
    trainer = make_trainer(2)
    trainer.fit(model, loader(make_batches(2, size=32)))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    state = torch.load(tmp_path / "x.ckpt", weights_only=True)["state_dict"]
    assert all(name.startswith("generator.") for name in state)
    again = lit_inpaint.load(tmp_path / "x.ckpt")
    assert isinstance(again, PConv)
    assert (again.variant, again.levels, again.stages()) == ("official", 4, ONE_STAGE)
    assert isinstance(again.generator.encoder[0].partial, CPUPartialConv2d), "loaded networks use the fast layers"
    image, mask = make_batches(1, size=32)[0]["image"], make_batches(1, size=32)[0]["mask"]
    assert torch.equal(again.complete(image, mask), model.eval().complete(image, mask))


def test_overfits_one_batch() -> None:
    """Three levels on one pair of images, through the engine."""
    y, x = torch.meshgrid(*[torch.linspace(0, 3, 32)] * 2, indexing="ij")
    waves = [0.5 + 0.4 * torch.sin(k * x + (k + c) * y) for k in (1, 2) for c in range(3)]
    image, mask = torch.stack(waves).view(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    mask[..., 10:22, 10:22] = 1
    batch = Batch(image=image, mask=mask, name=["a", "b"])
    model = make(levels=3, width=16, weights=NO_VGG, stages=ONE_STAGE, generator_optimizer=Adam(lr=3e-3))
    make_trainer(120).fit(model, loader([batch] * 120))
    with torch.no_grad():
        error = (composite(image, model.train()(image, mask).image, mask) - image).square().mean()
    assert float(-10 * error.log10()) > 30


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write pconv`."""
    expected, found = golden.read("pconv"), golden.measure("pconv")
    assert found.keys() == expected.keys() == {"valid", "hole", "perceptual", "style", "tv", "generator"}
    for term, values in found.items():
        assert len(values) == golden.STEPS
        assert values == pytest.approx(expected[term], rel=1e-3), term


# The public network -----------------------------------------------------------------------------------------------------------


def official(levels: int) -> dict[str, Tensor]:
    metadata = parity.metadata(f"pconv_unet_naoto_layers{levels}")
    return parity.fill_all(metadata["state_dict"], rules=[tuple(rule) for rule in metadata["weight_fill"]["rules"]])


@pytest.mark.parametrize("levels", [7, 8])
@pytest.mark.parametrize("channels_last", [False, True])
def test_parity_with_naoto0804(levels: int, channels_last: bool) -> None:
    """Every stored stage within 2e-5, normalized, before holes are emptied: the public code empties them in the next layer."""
    model, state = PConv(levels=levels).eval(), official(levels)
    assert len(model.load_official(state)) == 2 * levels
    use_fast_cpu_layers(model)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    features, masks = {}, {}
    layers = [*((f"enc_{i + 1}", level) for i, level in enumerate(model.generator.encoder))]
    layers += [(f"dec_{levels - i}", level) for i, level in enumerate(model.generator.decoder)]
    for layer_name, level in layers:
        level.activation.register_forward_hook(
            lambda m, a, output, layer_name=layer_name: features.update({layer_name: output})
        )
        level.register_forward_hook(lambda m, a, output, layer_name=layer_name: masks.update({layer_name: output[1]}))
    with torch.no_grad():
        output = model.normalization(model(parity.image(256), parity.mask(256)).image)
    stored = parity.arrays(f"pconv_unet_naoto_layers{levels}")
    assert parity.worst(output, stored, "out") < 2e-5
    seen = 0
    for layer_name, _ in layers:
        if f"stage.{layer_name}_out__center" in stored:
            assert parity.worst(features[layer_name], stored, f"stage.{layer_name}_out") < 2e-5, layer_name
            seen += 1
        if f"stage.{layer_name}_mask__center" in stored:
            channels = int(stored[f"stage.{layer_name}_mask__shape"][1])
            assert parity.worst(masks[layer_name].expand(-1, channels, -1, -1), stored, f"stage.{layer_name}_mask") == 0, (
                layer_name
            )
            seen += 1
    assert seen >= 8


def test_load_official_is_strict() -> None:
    state = official(7)
    with pytest.raises(UserError, match=r"7 levels.*PConv\(levels=7\)"):
        make(levels=8, width=64).load_official(state)
    model = make(levels=7, width=64)
    with pytest.raises(UserError, match=r"extra"):
        model.load_official({**state, "extra.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"norm.running_mean"):
        model.load_official({name: value for name, value in state.items() if name != "enc_4.bn.running_mean"})
    with pytest.raises(UserError, match=r"entry 'model'"):
        model.load_official({"model": torch.zeros(1)})
    with pytest.raises(UserError, match=r"do not fit"):
        make(levels=7, width=64, bias="everywhere").load_official(state)
    dropped = model.load_official(state)
    assert dropped == [name for name in state if "mask_conv" in name]
    kernel = model.generator.encoder[1].partial.conv.weight
    torch.testing.assert_close(kernel * (64 * 25), state["enc_2.conv.input_conv.weight"])
