"""PEPSI's and DeepFill's attention against numeric examples and against extracted patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, fold, unfold

from lit_inpaint.nets.contextual_attention import (
    patch_attention,
    subsample_nearest,
    truncated_distance_attention,
    truncated_distance_scores,
)

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


# DeepFill's -----------------------------------------------------------------------------------------------------------------


PORTS = {  # subsampling with aligned corners, added epsilon
    "daa233": (False, True),
    "nipponjo": (False, False),
    "nipponjo_tf": (True, False),
}


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("port", PORTS)
def test_parity_with_ports_of_deepfill(port: str, fuse: bool) -> None:
    align_corners, add_epsilon = PORTS[port]
    with np.load(FIXTURE.with_name("contextual_attention.npz")) as file:
        features, mask, expected = (
            torch.from_numpy(file[key]) for key in ("f", "mask", f"{port}_{'fuse' if fuse else 'nofuse'}")
        )
    hole = subsample_nearest(mask.float()[None, None], 8, align_corners)
    found = patch_attention(features[None], hole, 10.0, fuse, align_corners, add_epsilon)[0]
    assert (found - expected).abs().max() < 2e-5


def deepfill_in_full(features: Tensor, hole: Tensor, scale: float) -> Tensor:
    """Compute DeepFill's attention sample by sample from extracted patches and a transposed convolution."""
    results = []
    for x, mask in zip(features.split(1), hole.split(1), strict=True):
        small = subsample_nearest(x, 2, True)
        rows, columns = small.shape[2:]
        patches = unfold(small, 3, padding=1)[0].T  # a row for each position
        scores = patches @ (patches / patches.norm(dim=1, keepdim=True).clamp_min(1e-4)).T
        eye = torch.eye(3, dtype=x.dtype)[None, None]
        for _ in range(2):  # along rows, then, transposed, along columns; the second transposition restores the order
            fused = conv2d(scores[None, None], eye, padding=1)[0, 0]
            size = (rows, columns)
            scores = fused.view(*size, *size).permute(1, 0, 3, 2).reshape(rows * columns, rows * columns)
            rows, columns = columns, rows
        valid = (unfold(mask, 3, padding=1)[0].sum(0) == 0).to(x)
        weights = torch.softmax(scale * scores * valid, dim=1) * valid
        kernels = unfold(x, 4, padding=1, stride=2)[0].T.reshape(-1, x.shape[1], 4, 4)
        grid = weights.T.reshape(1, -1, rows, columns)
        results.append(conv_transpose2d(grid, kernels, stride=2, padding=1) / 4)
    return torch.cat(results)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 12), (2, 4)])
def test_patch_attention_equals_extracted_patches(height: int, width: int) -> None:
    """Outputs and gradients of a batch, whose samples have masks of their own."""
    torch.manual_seed(0)
    features = torch.randn(3, 5, height, width, dtype=torch.float64, requires_grad=True)
    hole = (torch.rand(3, 1, height // 2, width // 2) < 0.1).double()
    hole[2] = 1  # no valid patch
    found, expected = patch_attention(features, hole, 2.0), deepfill_in_full(features, hole, 2.0)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert not found[2].any()
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((output * weights).sum(), features)[0] for output in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-11, rtol=0)


def test_subsampling_with_aligned_corners() -> None:
    """TensorFlow rounds j (n - 1) / (n / factor - 1) half up."""
    x = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    assert subsample_nearest(x, 4, True)[0, 0, 0].tolist() == [0, 5, 10, 15]
    assert subsample_nearest(x, 2, True)[0, 0, 0].tolist() == [0, 2, 4, 6, 9, 11, 13, 15]
    assert subsample_nearest(x, 16, True)[0, 0, 0].tolist() == [0]
    assert subsample_nearest(x, 4, False)[0, 0, 0].tolist() == [0, 4, 8, 12]
    x = torch.arange(186.0).view(1, 1, 1, 186).expand(1, 1, 2, 186)
    assert subsample_nearest(x, 2, True)[0, 0, 0, 46] == 93, "46 * 185 / 92 is 92.5"
