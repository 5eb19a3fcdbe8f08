"""LPI-Net against what the paper states: counts, structure, losses, optimizers; and its first 20 steps against the file."""

from __future__ import annotations

import golden
import pytest
import torch
from torch import Tensor, nn

from lit_inpaint.errors import UserError
from lit_inpaint.papers import LPINet
from lit_inpaint.papers.lpi_net import LightweightResBlock, TopDownStep, Weights
from lit_inpaint.profiling.macs import count_params_macs
from lit_inpaint.settings import Adam
from lit_inpaint.types import Batch

WIDTHS = (16, 24, 32, 64, 320)


def make(blocks: int = 1) -> LPINet:
    torch.manual_seed(0)
    return LPINet(blocks=blocks)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("blocks", "exact", "published"), [(1, 1_764_707, 1.67), (4, 5_757_035, 5.47)])
def test_parameter_counts(blocks: int, exact: int, published: float) -> None:
    found = count(make(blocks).generator)
    assert found == exact
    assert found / 2**20 == pytest.approx(published, rel=0.01)


def test_discriminator_is_edge_connects() -> None:
    discriminator = make().discriminator
    assert count(discriminator) == 2_763_776
    with torch.no_grad():
        assert discriminator(torch.rand(1, 3, 256, 256)).shape == (1, 1, 30, 30)


@pytest.mark.parametrize("blocks", [1, 4])
def test_bottom_up(blocks: int) -> None:
    """Section 3.2: five stages of a standard convolution and N lightweight ResBlocks; the first at full resolution."""
    stages = make(blocks).generator.stages
    assert len(stages) == 5
    for number, (stage, c_in, c_out) in enumerate(zip(stages, (4, *WIDTHS), WIDTHS, strict=False)):
        first, *rest = stage
        assert isinstance(first, nn.Conv2d)
        assert (first.in_channels, first.out_channels, first.groups) == (c_in, c_out, 1)
        assert first.stride == ((1, 1) if number == 0 else (2, 2))
        assert sum(isinstance(layer, LightweightResBlock) for layer in rest) == blocks


def test_resblock() -> None:
    """Figure 2: 1x1 expansion, depthwise, linear 1x1 bottleneck, and the input added."""
    torch.manual_seed(0)
    block = LightweightResBlock(8, 6)
    expand, depthwise, bottleneck = (layer for layer in block.layers if isinstance(layer, nn.Conv2d))
    assert (expand.kernel_size, expand.out_channels) == ((1, 1), 48)
    assert (depthwise.kernel_size, depthwise.groups, depthwise.stride) == ((3, 3), 48, (1, 1))
    assert (bottleneck.kernel_size, bottleneck.out_channels) == ((1, 1), 8)
    x = torch.randn(2, 8, 5, 7)
    branch = torch.tanh(depthwise(torch.tanh(expand(x))))
    torch.testing.assert_close(block(x), x + bottleneck(branch))


def test_top_down() -> None:
    """Section 3.3: four steps, each with channel reduction, upsampling, lateral addition and smoothing."""
    steps = make().generator.steps
    assert len(steps) == 4
    below, above = WIDTHS[:0:-1], WIDTHS[-2::-1]
    assert [(s.reduce.in_channels, s.reduce.out_channels) for s in steps] == list(zip(below, above, strict=True))
    assert all(s.smooth.in_channels == s.smooth.out_channels == s.reduce.out_channels for s in steps)


def test_top_down_step() -> None:
    """Section 3.3: the channel reduction comes "before the subsequent operations"."""
    torch.manual_seed(0)
    step = TopDownStep(6, 4)
    below, lateral = torch.randn(1, 6, 3, 4), torch.randn(1, 4, 6, 8)
    up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)(step.reduce(below))
    torch.testing.assert_close(step(below, lateral), step.smooth(up + lateral))


@pytest.mark.parametrize(("blocks", "macs"), [(1, 1_225_359_360), (4, 3_693_477_888)])
def test_macs_at_256_pixels(blocks: int, macs: int) -> None:
    assert count_params_macs(make(blocks), 256).macs == macs


def test_resolutions_inside() -> None:
    """Full resolution in the first stage and in the last step; half of it at each stage in between."""
    sizes: list[tuple[int, int]] = []
    generator = make().generator
    for module in (*generator.stages, *generator.steps):
        module.register_forward_hook(lambda module, args, output: sizes.append(tuple(output.shape[-2:])))
    with torch.no_grad():
        generator(torch.zeros(1, 4, 64, 96))
    down = [(64 >> k, 96 >> k) for k in range(5)]
    assert sizes == down + down[-2::-1]


@pytest.mark.parametrize("size", [(32, 32), (48, 64), (37, 53)])
def test_output_shape(size: tuple[int, int]) -> None:
    with torch.no_grad():
        prediction = make()(torch.rand(2, 3, *size), torch.zeros(2, 1, *size))
    assert prediction.image.shape == (2, 3, *size)
    assert dict(prediction.stages) == {}


def test_raw_output_is_not_composited(batch: Batch) -> None:
    with torch.no_grad():
        image = make()(batch["image"], batch["mask"]).image
    assert not torch.isclose(image, batch["image"]).all(dim=1).any()


def mean_log(p: Tensor) -> Tensor:
    return torch.log(p).sum() / p.numel()


def test_losses_are_equations_1_to_3(batch: Batch) -> None:
    model = make().double().eval()  # eval mode: no power iteration between the two computations
    data = Batch(image=batch["image"].double(), mask=batch["mask"].double(), name=batch["name"])
    with torch.no_grad():
        prediction = model(data["image"], data["mask"])
        generator, discriminator = model.generator_losses(data, prediction), model.discriminator_losses(data, prediction)
        real, fake = (1 / (1 + torch.exp(-model.discriminator(x))) for x in (data["image"], prediction.image))
    n = 2 * 3 * 32 * 32  # all pixels, known ones too, times channels
    expected = {
        "l1": (data["image"] - prediction.image).abs().sum() / n,
        "adversarial": mean_log(1 - fake),  # minimax: the generator minimizes its part of equation 1
    }
    assert generator.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(generator[name], value, msg=name)
    expected = {"real": -mean_log(real), "fake": -mean_log(1 - fake)}
    assert discriminator.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(discriminator[name], value, msg=name)


def test_hole_weight(batch: Batch) -> None:
    torch.manual_seed(0)
    model = LPINet(hole_weight=6.0)
    prediction = model(batch["image"], batch["mask"])
    factors = torch.where(batch["mask"] == 1, 6.0, 1.0)
    expected = (factors * (prediction.image - batch["image"]).abs()).mean()
    torch.testing.assert_close(model.generator_losses(batch, prediction)["l1"], expected)


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_a_negative_hole_weight_is_refused(weight: float) -> None:
    with pytest.raises(UserError, match="give 0 or more"):
        LPINet(hole_weight=weight)


def test_every_weight_is_1() -> None:
    assert Weights() == Weights(l1=1.0, adversarial=1.0, real=1.0, fake=1.0)
    assert make().weights == Weights()
    assert make().hole_weight == 1


@pytest.mark.parametrize("blocks", [1, 4])
def test_every_parameter_gets_a_gradient(blocks: int, batch: Batch) -> None:
    model = make(blocks)
    prediction = model(batch["image"], batch["mask"])
    sum(model.generator_losses(batch, prediction).values()).backward()
    dead = [name for name, p in model.generator.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
    model.discriminator.zero_grad()
    sum(model.discriminator_losses(batch, prediction.detach()).values()).backward()
    dead = [name for name, p in model.discriminator.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_training_as_in_section_4_1() -> None:
    model = make()
    assert model.generator_optimizer == Adam(lr=1e-4, betas=(0.0, 0.9))
    assert model.discriminator_optimizer == Adam(lr=1e-3, betas=(0.0, 0.9))
    generator, discriminator = model.configure_optimizers()
    for optimizer, network, lr in ((generator, model.generator, 1e-4), (discriminator, model.discriminator, 1e-3)):
        (group,) = optimizer.param_groups
        assert (group["lr"], group["betas"], group["weight_decay"]) == (lr, (0.0, 0.9), 0.0)
        assert {id(p) for p in group["params"]} == {id(p) for p in network.parameters()}
    (stage,) = model.stages()
    assert (stage.update, stage.generator, stage.discriminator, stage.iterations) == ("simultaneous", True, True, None)
    assert model.training_settings.clip_generator is None
    assert model.training_settings.clip_discriminator is None


def test_variants_have_their_published_names() -> None:
    assert LPINet.published_as == {"LPI": {"blocks": 1}, "LPI-Large": {"blocks": 4}}


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write`."""
    expected, found = golden.read("lpi_net"), golden.measure("lpi_net")
    assert found.keys() == expected.keys() == {"l1", "adversarial", "real", "fake", "generator", "discriminator"}
    for term, values in found.items():
        assert len(values) == golden.STEPS
        assert values == pytest.approx(expected[term], rel=1e-3), term
