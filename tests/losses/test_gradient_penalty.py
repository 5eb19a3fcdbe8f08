"""The penalties against discriminators with a closed-form gradient, and against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from lit_inpaint.losses.adversarial import Logits
from lit_inpaint.losses.gradient_penalty import gradient_penalty, r1_penalty
from lit_inpaint.nets.patch_discriminator import PatchDiscriminator

Penalty = Callable[[Callable[[Tensor], Logits], Tensor], Tensor]


def between(discriminator: Callable[[Tensor], Logits], real: Tensor) -> Tensor:
    """`gradient_penalty` from `real` to its mirror image, the same points at every call: what one step computes."""
    torch.manual_seed(3)
    return gradient_penalty(discriminator, real, real.flip(-1))


both = pytest.mark.parametrize("penalty", [between, r1_penalty])


def images(batch: int = 3, channels: int = 2, size: int = 4, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.rand((batch, channels, size, size), generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Linear(nn.Module):
    """<w, x>: its gradient is w, everywhere."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, image: Tensor) -> Tensor:
        return (self.weight * image).flatten(1).sum(1)


class Quadratic(nn.Module):
    """Half the squared length of w * x: its gradient is w^2 x."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, image: Tensor) -> Tensor:
        return (self.weight * image).square().flatten(1).sum(1) / 2


class Smooth(nn.Module):
    """Four patches of a 4x4 image; weights, biases, strides, and a curvature that finite differences resolve."""

    def __init__(self, last_bias: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(3, 2, 2, stride=2),
            nn.Tanh(),
            nn.Conv2d(2, 1, 1, bias=last_bias),
        ).double()

    def forward(self, image: Tensor) -> Tensor:
        return cast(Tensor, self.layers(image))


class Pyramid(nn.Module):
    """Two scales, of four patches and of one."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = Smooth(), Smooth()

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.fine(image), self.coarse(image[..., 1:, 1:])]


# Values -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [1.0, 0.0, 2.5])
def test_a_linear_discriminator(target: float) -> None:
    weight = images(batch=1, seed=1)[0]
    norm = math.sqrt(sum(float(w) ** 2 for w in weight.flatten()))
    discriminator = Linear(weight)
    value = gradient_penalty(discriminator, images(), images(seed=2), target=target)
    assert value.shape == ()
    assert value.item() == pytest.approx((norm - target) ** 2, rel=1e-12)
    value.backward()
    assert discriminator.weight.grad is not None
    torch.testing.assert_close(discriminator.weight.grad, 2 * (norm - target) * weight / norm)


def test_the_default_target_is_1() -> None:
    discriminator = Linear(images(batch=1, seed=1)[0])
    assert torch.equal(between(discriminator, images()), gradient_penalty(discriminator, images(), images(), target=1.0))


def test_a_quadratic_discriminator_at_real_images() -> None:
    """Gradient w^2 x: R1 is w^4 times the mean over samples of |x|^2, and its derivative by w is 4 w^3 times it."""
    real = images()
    discriminator = Quadratic(1.5)
    value = r1_penalty(discriminator, real)
    squares = [sum(float(x) ** 2 for x in sample.flatten()) for sample in real]
    mean_square = sum(squares) / len(squares)
    assert value.shape == ()
    assert value.item() == pytest.approx(1.5**4 * mean_square, rel=1e-12)
    value.backward()
    assert discriminator.weight.grad is not None
    assert float(discriminator.weight.grad) == pytest.approx(4 * 1.5**3 * mean_square, rel=1e-12)


def test_norms_are_per_sample() -> None:
    """At x = fake = real the gradient of <x, x> / 2 is x: norms 0.5, 1 and 4 cost 0.25, 0 and 9, whatever they are together."""
    direction = torch.nn.functional.normalize(images().flatten(1), dim=1).reshape(images().shape)
    real = direction * torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    value = gradient_penalty(Quadratic(1.0), real, real)
    assert value.item() == pytest.approx((0.25 + 0.0 + 9.0) / 3, rel=1e-12)
    assert r1_penalty(Quadratic(1.0), real).item() == pytest.approx((0.25 + 1.0 + 16.0) / 3, rel=1e-12)


def record_logits(real: Tensor, fake: Tensor) -> Tensor:
    seen: list[Tensor] = []
    discriminator = Linear(torch.ones(real.shape[1:], dtype=torch.float64))

    def spy(image: Tensor) -> Tensor:
        seen.append(image.detach().clone())
        return cast(Tensor, discriminator(image))

    gradient_penalty(spy, real, fake)
    (point,) = seen
    return point


def test_points_lie_evenly_between_real_and_fake() -> None:
    torch.manual_seed(0)
    fractions = record_logits(torch.ones(2000, 3, 2, 2), torch.zeros(2000, 3, 2, 2)).double()
    assert float(fractions.min()) >= 0
    assert float(fractions.max()) <= 1
    assert torch.equal(fractions, fractions[:, :1, :1, :1].expand_as(fractions)), "one fraction for all pixels of a sample"
    first = fractions[:, 0, 0, 0]
    assert first.unique().numel() > 1990
    assert float(first.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(first.var()) == pytest.approx(1 / 12, abs=0.005)
    counts = torch.histc(first, 10, 0.0, 1.0)
    assert int(counts.min()) > 150


def test_points_lie_on_the_line() -> None:
    real, fake = images(), images(seed=2)
    point = record_logits(real, fake)
    fraction = ((point - fake) / (real - fake))[:, :1, :1, :1]
    torch.testing.assert_close(point, fraction * real + (1 - fraction) * fake)


def test_points_come_from_the_global_seed() -> None:
    real, fake = images(), images(seed=2)
    torch.manual_seed(5)
    first = record_logits(real, fake)
    again = record_logits(real, fake)
    torch.manual_seed(5)
    assert torch.equal(first, record_logits(real, fake))
    assert not torch.equal(first, again)


def test_a_mask_leaves_known_pixels_out() -> None:
    weight = images(batch=1, seed=1)[0]
    mask = torch.zeros(3, 1, 4, 4, dtype=torch.float64)
    mask[0, 0, :2, :2] = 1
    mask[1, 0, 3, 1:] = 1
    mask[2] = 1
    expected = 0.0
    for sample in mask:
        square = sum(float(weight[c, i, j]) ** 2 * float(sample[0, i, j]) for c in range(2) for i in range(4) for j in range(4))
        expected += (math.sqrt(square) - 1) ** 2 / 3
    discriminator = Linear(weight)
    assert gradient_penalty(discriminator, images(), images(seed=2), mask=mask).item() == pytest.approx(expected, rel=1e-12)
    full = gradient_penalty(discriminator, images(), images(seed=2), mask=torch.ones_like(mask))
    assert full.item() == pytest.approx(between(discriminator, images()).item(), rel=1e-12)


def test_a_sample_without_a_hole_has_no_gradient() -> None:
    discriminator = Linear(images(batch=1, seed=1)[0])
    value = gradient_penalty(discriminator, images(), images(seed=2), mask=torch.zeros(3, 1, 4, 4))
    value.backward()
    assert value.item() == 1.0
    assert discriminator.weight.grad is not None
    assert torch.equal(discriminator.weight.grad, torch.zeros_like(discriminator.weight))


@both
def test_scales_and_patches_are_summed(penalty: Penalty) -> None:
    """Each scale gives a map of patches; the gradient is that of their sum."""
    pyramid, real = Pyramid(), images()
    whole = penalty(pyramid, real)
    summed = penalty(lambda image: pyramid.fine(image).sum() + pyramid.coarse(image[..., 1:, 1:]).sum(), real)
    torch.testing.assert_close(whole, summed)
    assert not torch.isclose(whole, penalty(pyramid.fine, real) + penalty(pyramid.coarse, real[..., 1:, 1:]))
    assert not torch.isclose(whole, penalty(lambda image: pyramid.fine(image).mean(), real))


@both
def test_a_tuple_of_scales(penalty: Penalty) -> None:
    pyramid, real = Pyramid(), images()
    assert torch.equal(penalty(lambda image: tuple(pyramid(image)), real), penalty(pyramid, real))


@both
def test_a_conditional_discriminator_in_a_lambda(penalty: Penalty) -> None:
    """The gradient is with respect to the image only."""
    weight = images(batch=1, channels=3, seed=1)[0]
    conditioned, plain = Linear(weight), Linear(weight[:2])
    condition = images(channels=1, seed=4)
    value = penalty(lambda image: conditioned(torch.cat([image, condition], 1)), images())
    torch.testing.assert_close(value, penalty(plain, images()))


# Gradients ------------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("make", [Smooth, Pyramid])
def test_parameter_gradients_are_finite_differences(penalty: Penalty, make: Callable[[], nn.Module]) -> None:
    net, real = make(), images(batch=2)
    names = [name for name, _ in net.named_parameters()]

    def value(*weights: Tensor) -> Tensor:
        return penalty(lambda image: functional_call(net, dict(zip(names, weights, strict=True)), (image,)), real)

    weights = tuple(p.detach().clone().requires_grad_() for p in net.parameters())
    assert torch.autograd.gradcheck(value, weights)
    if make is Smooth:
        assert torch.autograd.gradgradcheck(value, weights, atol=1e-4)


@both
def test_every_weight_of_the_gradient_has_a_gradient(penalty: Penalty) -> None:
    """All but the last bias, which adds a constant."""
    net = Smooth(last_bias=True)
    penalty(net, images()).backward()
    for name, parameter in net.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert moved == (name != "layers.4.bias"), name


@both
def test_both_scales_have_gradients(penalty: Penalty) -> None:
    net = Pyramid()
    penalty(net, images()).backward()
    assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in net.parameters())


@both
def test_descent_on_the_penalty_lowers_it(penalty: Penalty) -> None:
    net, real = Smooth(), images()
    before = penalty(net, real)
    for gradient, parameter in zip(torch.autograd.grad(before, list(net.parameters())), net.parameters(), strict=True):
        parameter.data -= 1e-3 * gradient
    assert penalty(net, real).item() < before.item()


def test_images_have_no_gradient() -> None:
    real, fake = images().requires_grad_(), images(seed=2).requires_grad_()
    pixels = (real.detach().clone(), fake.detach().clone())
    net = Smooth()
    (gradient_penalty(net, real * 1, fake * 1) + r1_penalty(net, real * 1)).backward()  # from a graph, and leaves
    (gradient_penalty(net, real, fake) + r1_penalty(net, real)).backward()
    assert real.grad is None
    assert fake.grad is None
    assert torch.equal(real, pixels[0])
    assert torch.equal(fake, pixels[1])


def test_inputs_are_not_changed() -> None:
    real, fake, mask = images(), images(seed=2), torch.ones(3, 1, 4, 4)
    copies = [x.clone() for x in (real, fake, mask)]
    gradient_penalty(Smooth(), real, fake, mask).backward()
    r1_penalty(Smooth(), real).backward()
    assert not any(x.requires_grad for x in (real, fake, mask))
    assert all(torch.equal(x, copy) for x, copy in zip((real, fake, mask), copies, strict=True))


@both
def test_weights_have_no_gradient_before_backward(penalty: Penalty) -> None:
    """The penalty itself leaves the weights' `.grad` unchanged."""
    net = Smooth()
    penalty(net, images())
    assert all(p.grad is None for p in net.parameters())


# Networks as papers have them -----------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("training", [True, False])
def test_spectral_norm(penalty: Penalty, training: bool) -> None:
    """Beside the discriminator's other terms, as in a training step; every weight learns from the penalty alone too."""
    torch.manual_seed(0)
    net = PatchDiscriminator(widths=(4, 4, 4, 4)).train(training)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(50)  # so that the norm has an effect
    real = images(2, 3, 32, torch.float32)
    logits = net(real)
    value = penalty(net, real)
    alone = torch.autograd.grad(value, list(net.parameters()), retain_graph=True)
    assert all(bool(torch.isfinite(g).all()) and float(g.abs().max()) > 0 for g in alone)
    (logits.mean() + value + net(real.flip(0)).mean()).backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in net.parameters())


@both
def test_spectral_norm_is_differentiated_through(penalty: Penalty) -> None:
    """Against finite differences of the stored weight; in eval mode, without power iteration."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), spectral_norm(nn.Conv2d(3, 1, 2, bias=False))).double()
    net(images())
    net.eval()
    name = "2.parametrizations.weight.original"
    weight = dict(net.named_parameters())[name].detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: penalty(lambda x: functional_call(net, {name: w}, (x,)), images()), (weight,))


@both
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(penalty: Penalty, training: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Tanh(), nn.Conv2d(3, 1, 2, bias=False))
    net.double().train(training)
    names = [name for name, _ in net.named_parameters()]
    weights = tuple(p.detach().clone().requires_grad_() for p in net.parameters())

    def value(*weights: Tensor) -> Tensor:
        return penalty(lambda x: functional_call(net, dict(zip(names, weights, strict=True)), (x,)), images())

    assert torch.autograd.gradcheck(value, weights)


# Precision --------------------------------------------------------------------------------------------------------------------


@both
def test_autocast(penalty: Penalty) -> None:
    """Forward, penalty and backward inside autocast, as Lightning runs a manual step: near float32 in value and direction."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1), nn.Tanh(), nn.Conv2d(8, 8, 4, 2, 1), nn.Tanh(), nn.Conv2d(8, 1, 4, bias=False)
    )
    net.requires_grad_()
    real = images(4, 3, 32, torch.float32)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(3)
    exact = penalty(net, real)
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(exact, list(net.parameters()))])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = penalty(net, real)
        value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=0.03)
    got = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    assert got.dtype == torch.float32
    assert float(nn.functional.cosine_similarity(got, wanted, dim=0)) > 0.999


@both
def test_spectral_norm_under_autocast(penalty: Penalty) -> None:
    torch.manual_seed(0)
    net = PatchDiscriminator(widths=(4, 4, 4, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty(net, images(2, 3, 32, torch.float32)).backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 and float(p.grad.abs().max()) > 0 for p in net.parameters())


@both
def test_the_forward_stays_in_the_callers_precision_and_the_differentiation_without(penalty: Penalty) -> None:
    net = nn.Conv2d(2, 1, 2)
    states: list[bool] = []

    def spy(image: Tensor) -> Tensor:
        logits = cast(Tensor, net(image))
        assert logits.dtype == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
        logits.register_hook(lambda gradient: states.append(torch.is_autocast_enabled("cpu")))
        return logits * logits

    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty(spy, images(dtype=torch.float32))
        assert torch.is_autocast_enabled("cpu")
    assert states == [False]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_of_half_precision_gradients_are_not_rounded(dtype: torch.dtype) -> None:
    """1 / 2 at 192 positions has norm sqrt(48) = 6.9282, which bfloat16 would make 6.9375."""
    discriminator = Linear(torch.full((3, 8, 8), 0.5, dtype=dtype))
    real = torch.rand(5, 3, 8, 8).to(dtype)
    value = gradient_penalty(discriminator, real, real)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx((math.sqrt(48) - 1) ** 2, rel=1e-6)
    steep = Linear(torch.full((3, 8, 8), 50.0, dtype=dtype))  # the sum of its squares is beyond float16
    assert r1_penalty(steep, real).item() == pytest.approx(2500 * 192, rel=1e-6)


def test_a_half_precision_network_gets_its_own_precision() -> None:
    """Under bf16-true, where a float32 point would not fit the weights."""
    real = images(2, 3, 32).bfloat16()
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh(), nn.Conv2d(2, 1, 3)).bfloat16()
    assert torch.isfinite(gradient_penalty(net, real, real.flip(0)))
    assert torch.isfinite(r1_penalty(net, real))


def test_images_of_two_precisions_are_promoted() -> None:
    assert record_logits(images(dtype=torch.float32), images(seed=2).bfloat16()).dtype == torch.float32


# Mistakes ---------------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_disabled_gradients_raise(penalty: Penalty, mode: Callable[[], torch.no_grad | torch.inference_mode]) -> None:
    with mode(), pytest.raises(RuntimeError, match="needs gradients"):
        penalty(Smooth(), images())


@both
def test_a_frozen_discriminator_raises(penalty: Penalty) -> None:
    with pytest.raises(RuntimeError, match="no trainable weight"):
        penalty(Linear(images(batch=1)[0]).requires_grad_(False), images())


def test_shapes_that_would_broadcast_raise() -> None:
    net, real = Smooth(), images()
    with pytest.raises(ValueError, match="equal shapes"):
        gradient_penalty(net, real, real[:1])
    for shape in [(3, 4, 4), (1, 1, 4, 4), (3, 2, 4, 4), (3, 1, 2, 2)]:
        with pytest.raises(ValueError, match="mask is"):
            gradient_penalty(net, real, real, mask=torch.ones(shape))
