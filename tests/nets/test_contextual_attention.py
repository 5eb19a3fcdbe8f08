"""PEPSI's attention against its numeric examples (pepsi_cam.npz) and against extracted patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import fold, unfold

from lit_inpaint.nets.contextual_attention import truncated_distance_attention, truncated_distance_scores

FIXTURE = Path(__file__).parents[1] / "papers" / "parity" / "pepsi_cam.npz"


@pytest.fixture(scope="module")
def cam() -> dict[str, Tensor]:
    with np.load(FIXTURE) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def example(cam: dict[str, Tensor], name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    features, known = cam[f"{name}_x"].permute(2, 0, 1)[None], cam[f"{name}_mask"][None, None]
    return features.to(dtype), known.to(dtype), float(cam[f"{name}_lam"])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("name", ["A50", "A1", "B50", "C50"])
def test_parity(name: str, dtype: torch.dtype, tolerance: float, cam: dict[str, Tensor]) -> None:
    features, known, scale = example(cam, name, dtype)
    found = truncated_distance_attention(features, known, scale, squared=True)[0].permute(1, 2, 0)
    torch.testing.assert_close(found, cam[f"{name}_combined"].to(dtype), atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", ["A50", "B50"])
def test_parity_of_the_scores(name: str, cam: dict[str, Tensor]) -> None:
    features, known, _ = example(cam, name, torch.float64)
    found = truncated_distance_scores(features, features * known, squared=True)[0]
    torch.testing.assert_close(found, cam[f"{name}_score"], atol=1e-12, rtol=0)


def test_an_example_by_hand(cam: dict[str, Tensor]) -> None:
    """Squared distances 113, 68, 68, 81 of the hole at (2, 2): mean 82.5, deviation 18.391574."""
    features, known, _ = example(cam, "A50", torch.float64)
    distance = torch.tensor([113.0, 68.0, 68.0, 81.0], dtype=torch.float64)
    scores = -torch.tanh((distance - 82.5) / 18.391574)
    assert truncated_distance_scores(features, features * known, squared=True)[0, 10].tolist() == pytest.approx(scores.tolist())
    blunt = truncated_distance_attention(features, known, scale=1.0, squared=True)
    assert float(blunt[0, 0, 2, 2]) == pytest.approx(2.782872, abs=1e-6)


def in_full(features: Tensor, known: Tensor, scale: float, squared: bool) -> Tensor:
    """Compute sample by sample from extracted patches."""
    results = []
    for x, mask in zip(features.split(1), known.split(1), strict=True):
        positions = unfold(x, 3, padding=1)[0].T  # a row for each pixel
        patches = unfold(x * mask, 3)[0].T
        distance = (positions[:, None] - patches[None]).square().sum(-1)
        if not squared:
            distance = distance.sqrt()
        z = (distance - distance.mean(1, keepdim=True)) / distance.std(1, correction=0, keepdim=True)
        blended = torch.softmax(-scale * torch.tanh(z), dim=1) @ patches
        pasted = fold(blended.T[None], x.shape[2:], 3, padding=1) / 9
        results.append(x * mask + pasted * (1 - mask))
    return torch.cat(results)


def batch(size: tuple[int, int] = (7, 9), channels: int = 5) -> tuple[Tensor, Tensor]:
    """Three samples with different holes."""
    rng = torch.Generator().manual_seed(0)
    known = torch.ones(3, 1, *size, dtype=torch.float64)
    known[0, :, 2:5, 3:6] = 0
    known[1, :, :3, :] = 0
    known[2, :, 4:, 5:] = 0
    return torch.randn(3, channels, *size, generator=rng, dtype=torch.float64), known


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_a_batch_against_extracted_patches(scale: float, squared: bool) -> None:
    features, known = batch()
    found = truncated_distance_attention(features, known, scale, squared)
    # The distance of a patch from itself is 0; here it is up to 1e-3 where distances are not squared.
    torch.testing.assert_close(found, in_full(features, known, scale, squared), atol=1e-10 if squared else 1e-3, rtol=0)


def test_squared_and_plain_distances_differ() -> None:
    features, known = batch()
    plain, squared = (truncated_distance_attention(features, known, 5.0, squared) for squared in (False, True))
    assert float((plain - squared).abs().max()) > 1e-2


def test_known_features_are_kept_exactly() -> None:
    features, known = batch()
    found = truncated_distance_attention(features, known)
    assert torch.equal(found * known, features * known)
    assert not torch.isclose(found, features)[(known == 0).expand_as(found)].any()


def test_features_in_the_hole_affect_only_its_own_patches() -> None:
    """Features in the hole choose the weights; they are not copied."""
    features, known = batch()
    found = truncated_distance_attention(1000 * features * (1 - known) + features * known, known)
    assert float(found[(known == 0).expand_as(found)].abs().max()) < 10


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("features", [torch.zeros(1, 4, 6, 6), torch.full((1, 4, 6, 6), 3.0)], ids=["zeros", "threes"])
@pytest.mark.parametrize("hole", [slice(2, 4), slice(0, 6), slice(0, 0)], ids=["some", "all", "none"])
def test_flat_features_have_finite_gradients(features: Tensor, hole: slice, squared: bool) -> None:
    known = torch.ones(1, 1, 6, 6)
    known[..., hole, hole] = 0
    x = features.clone().requires_grad_()
    found = truncated_distance_attention(x, known, squared=squared)
    found.sum().backward()
    assert x.grad is not None
    assert found.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("squared", [True, False])
def test_gradients(squared: bool) -> None:
    features, known = batch((4, 5), channels=2)
    x = features.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: truncated_distance_attention(x, known, 2.0, squared), (x,))


def test_autocast_does_not_change_it() -> None:
    features, known = (x.float() for x in batch())
    expected = truncated_distance_attention(features, known)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(truncated_distance_attention(features, known), expected)
        assert truncated_distance_attention(features.bfloat16(), known).dtype == torch.float32
