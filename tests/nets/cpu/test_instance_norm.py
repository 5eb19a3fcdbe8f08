"""The CPU's instance norm against torch's, in both memory layouts."""

import pytest
import torch
from torch import nn

from lit_inpaint.nets.cpu.instance_norm import CPUInstanceNorm2d
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers

LAYOUTS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equals_torch(layout: torch.memory_format, dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    x, g = ((3 * torch.randn(2, 5, 12, 9, generator=rng) + 1).to(dtype).contiguous(memory_format=layout) for _ in range(2))
    results = []
    for norm, precision in ((nn.InstanceNorm2d(5), torch.float64), (CPUInstanceNorm2d(5), dtype)):
        given = x.detach().to(precision).requires_grad_()
        output = norm(given)
        output.backward(g.to(precision))
        assert given.grad is not None
        assert output.dtype == precision
        results.append((output.detach(), given.grad))
        with torch.no_grad():
            torch.testing.assert_close(norm(given), output, rtol=1e-6, atol=1e-6)
    assert output.is_contiguous(memory_format=layout)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 5e-2}[dtype]
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mean", [100.0, -1000.0])
def test_maps_far_from_zero(mean: float) -> None:
    """A channel's mean may be many times its standard deviation: the square of the mean must not cancel its variance."""
    rng = torch.Generator().manual_seed(0)
    x = (torch.randn(2, 5, 32, 24, generator=rng) + mean).contiguous(memory_format=torch.channels_last)
    g = torch.randn(2, 5, 32, 24, generator=rng)
    results = []
    for norm, precision in ((nn.InstanceNorm2d(5), torch.float64), (CPUInstanceNorm2d(5), torch.float32)):
        given = x.detach().to(precision).requires_grad_()
        output = norm(given)
        output.backward(g.to(precision))
        assert given.grad is not None
        results.append((output.detach().double(), given.grad.double()))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_gradient_of_channels_last_maps() -> None:
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradcheck(CPUInstanceNorm2d(3), (x,))


def test_only_norms_without_parameters_and_statistics_are_swapped() -> None:
    norms = nn.Sequential(
        nn.InstanceNorm2d(3), nn.InstanceNorm2d(3, affine=True), nn.InstanceNorm2d(3, track_running_stats=True)
    )
    use_fast_cpu_layers(norms)
    assert [type(norm) for norm in norms] == [CPUInstanceNorm2d, nn.InstanceNorm2d, nn.InstanceNorm2d]
