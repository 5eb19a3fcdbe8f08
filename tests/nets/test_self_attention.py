"""The layer against softmax written as loops, its gradients, and an output of DeepGIN's public code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from papers import parity_fixtures as parity
from torch import Tensor, nn

from lit_inpaint.nets.self_attention import SelfAttention


def make(width: int = 6, hidden: int | None = None) -> SelfAttention:
    """In double precision; weights large enough for a softmax far from uniform."""
    torch.manual_seed(0)
    layer = SelfAttention(width, hidden).double()
    for p in layer.parameters():
        nn.init.normal_(p)
    return layer


def one_by_one(layer: SelfAttention, x: Tensor) -> Tensor:
    """Compute position by position of one map (C, h, w) the weights of all positions and the weighted mean."""
    w = {name: p.flatten(1) if p.ndim == 4 else p for name, p in layer.state_dict().items()}

    def project(name: str, column: Tensor) -> Tensor:
        return w[f"{name}.weight"] @ column + w[f"{name}.bias"]

    positions = [(i, j) for i in range(x.shape[1]) for j in range(x.shape[2])]
    output = torch.zeros_like(x)
    for i, j in positions:
        query = project("theta", x[:, i, j])
        scores = [math.exp(float(query @ project("phi", x[:, a, b]))) for a, b in positions]
        attended = sum(s / sum(scores) * project("g", x[:, a, b]) for s, (a, b) in zip(scores, positions, strict=True))
        assert isinstance(attended, Tensor)
        output[:, i, j] = x[:, i, j] + project("out", attended)
    return output


@pytest.mark.parametrize("hidden", [None, 5])
def test_against_loops(hidden: int | None) -> None:
    layer, x = make(hidden=hidden), torch.randn(2, 6, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([one_by_one(layer, sample) for sample in x])
        torch.testing.assert_close(layer(x), expected, atol=1e-10, rtol=1e-10)


def test_widths() -> None:
    assert [conv.weight.shape[:2] for conv in SelfAttention(8).children()] == [(4, 8), (4, 8), (4, 8), (8, 4)]
    assert [conv.weight.shape[:2] for conv in SelfAttention(8, 3).children()] == [(3, 8), (3, 8), (3, 8), (8, 3)]
    with torch.device("meta"):
        counts = [sum(p.numel() for p in SelfAttention(width).parameters()) for width in (64, 128, 512)]
    assert counts == [8_352, 33_088, 525_568]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients(layout: torch.memory_format, dtype: torch.dtype) -> None:
    """Gradients of the fused kernel against those of an explicit softmax."""
    layer, found = make(8).to(dtype).to(memory_format=layout), []
    with torch.no_grad():
        layer.theta.weight.mul_(0.2)  # scores that single precision resolves
    given = torch.randn(2, 8, 4, 5, dtype=dtype).to(memory_format=layout)

    def in_full(x: Tensor) -> Tensor:
        query, key, value = (f(x).flatten(2).mT for f in (layer.theta, layer.phi, layer.g))
        attended = (query @ key.mT).softmax(dim=-1) @ value
        return x + layer.out(attended.mT.unflatten(2, (4, 5)))

    for function in (layer, in_full):
        x = given.detach().requires_grad_()
        output = function(x)
        found.append([output, *torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])])
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    names = ["output", "x", *(name for name, _ in layer.named_parameters())]
    for name, ours, expected in zip(names, *found, strict=True):
        scale = float(expected.abs().max())
        assert (scale > 0.1) == (name != "phi.bias"), "it adds the same to all scores of a position, without effect on softmax"
        torch.testing.assert_close(ours, expected, atol=tolerance * max(scale, 100), rtol=tolerance, msg=name)


def test_parity_with_the_public_code() -> None:
    metadata, stored = parity.metadata("deepgin_blocks")["blocks"]["nonlocal_"], parity.arrays("deepgin_blocks")
    state = parity.fill_all(metadata["state_dict"], gain=metadata["gain"])
    layer = SelfAttention(metadata["channels"])
    layer.load_state_dict({name.replace("W.", "out."): value for name, value in state.items()})
    side, rng = metadata["size"], np.random.Generator(np.random.PCG64(0))
    x = torch.from_numpy((rng.random((1, metadata["channels"], side, side)) * 2 - 1).astype(np.float32))
    with torch.no_grad():
        output = layer(x)
        theta, phi = (f(x).flatten(2) for f in (layer.theta, layer.phi))
        sharpness = (theta.mT @ phi).softmax(dim=-1).amax(dim=-1).mean()
    np.testing.assert_allclose(output[:, :16].numpy(), stored["nonlocal___full"], atol=2e-5, rtol=0)
    assert float(output.double().abs().sum()) == pytest.approx(float(stored["nonlocal___stats"][2]), rel=1e-5)
    assert float(sharpness) == pytest.approx(metadata["mean_max_softmax"], rel=1e-5)
