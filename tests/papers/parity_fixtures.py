"""Read outputs of public reference networks, and compute the weights, images and masks they belong to by formula.

A fixture `parity/<name>` is a JSON with its origin, and mostly an `.npz` with crops and statistics of the outputs of
the public code named in it (float32, CPU, one thread). Weights depend on their names in that code only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "parity"

Rule = tuple[str, float, float]
"""End of a key, gain and exponent of the weights whose keys end so."""


def metadata(name: str) -> dict[str, Any]:
    """Read the JSON of a fixture."""
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return content


def arrays(name: str) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of a fixture."""
    with np.load(FOLDER / f"{name}.npz") as content:
        return dict(content)


def fill(key: str, shape: Sequence[int], gain: float = 1.0, exponent: float = -0.5) -> Tensor:
    """Compute the weight of a fixture under `key`: normal numbers from the key's own seed, scaled by the fan-in."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    values = np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(shape)).astype(np.float32)
    leaf = key.rpartition(".")[2]
    if len(shape) >= 2:
        values = values * np.float32(gain * float(np.prod(shape[1:])) ** exponent)
    elif leaf == "running_var":
        values = np.abs(values) * np.float32(0.1) + np.float32(1)
    elif leaf == "weight":
        values = np.float32(1) + np.float32(0.1) * values
    else:
        values = np.float32(0.1) * values
    return torch.from_numpy(np.ascontiguousarray(values))


def fill_all(rows: Iterable[Sequence[Any]], gain: float = 1.0, rules: Iterable[Rule] = ()) -> dict[str, Tensor]:
    """A state dict out of a fixture's rows [key, shape, dtype, action]; the last rule that fits a key holds.

    Actions: "filled" by `fill`, "ones", "left" (the counters of batch norm: 0).
    """
    rules, state = list(rules), {}
    for key, shape, dtype, action, *_ in rows:
        if action == "filled":
            factors = [(own, exponent) for end, own, exponent in rules if key.endswith(end)] or [(gain, -0.5)]
            state[key] = fill(key, shape, *factors[-1])
        else:
            assert action in ("ones", "left"), f"{key}: {action}"
            state[key] = torch.full(shape, float(action == "ones"), dtype=getattr(torch, dtype.removeprefix("torch.")))
    return state


def image(size: int, seed: int = 0, batch: int = 1) -> Tensor:
    """Noise (B, 3, size, size) in [0, 1)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(rng.random((batch, 3, size, size)).astype(np.float32))


def mask(size: int, seed: int = 1, batch: int = 1) -> Tensor:
    """A square of half the side and ten small ones, (B, 1, size, size), 1 = hole; sample i is drawn from seed + 1000 i."""
    masks = np.zeros((batch, 1, size, size), np.float32)
    for sample in range(batch):
        rng = np.random.Generator(np.random.PCG64(seed + 1000 * sample))
        start, side = (size - size // 2) // 2, size // 2
        masks[sample, 0, start : start + side, start : start + side] = 1
        for _ in range(10):
            y = rng.integers(0, size - 8)
            x = rng.integers(0, size - 8)
            masks[sample, 0, y : y + 9, x : x + 9] = 1
    return torch.from_numpy(masks)


def center(x: Tensor, side: int) -> npt.NDArray[Any]:
    """The middle side x side of (B, C, H, W), or all of it where it is smaller."""
    side = min(side, x.shape[-1])
    start = (x.shape[-1] - side) // 2
    crop: npt.NDArray[Any] = x[..., start : start + side, start : start + side].numpy()
    return crop


def worst(x: Tensor, stored: Mapping[str, npt.NDArray[Any]], name: str) -> float:
    """Largest absolute difference of (B, C, H, W) from the crops stored as `name__center` and `name__corner`.

    Raises:
        AssertionError: another shape, or other statistics over the whole tensor (1e-4 of its mean absolute value).
    """
    assert tuple(x.shape) == tuple(stored[f"{name}__shape"])
    whole = x.double()
    found = [whole.mean(), whole.std(correction=0), whole.abs().sum(), whole.min(), whole.max()]
    scale = np.array([1, 1, x.numel(), 1, 1]) * float(whole.abs().mean())
    np.testing.assert_allclose(np.array([float(v) for v in found]) / scale, stored[f"{name}__stats"] / scale, atol=1e-4)
    differences = []
    for position in ("center", "corner"):
        crop = stored[f"{name}__{position}"]
        ours = center(x, crop.shape[-1]) if position == "center" else x[..., : crop.shape[-2], : crop.shape[-1]].numpy()
        differences.append(np.abs(ours[:, : crop.shape[1]] - crop).max())
    return float(max(differences))


def fill_roles(rows: Iterable[Sequence[Any]], gain: float) -> dict[str, Tensor]:
    """A state dict out of a fixture's rows [key, shape, dtype, role, ...]: "filled" by `fill`, "integer" counters 0."""
    state = {}
    for key, shape, dtype, role, *_ in rows:
        assert role in ("filled", "integer"), f"{key}: {role}"
        state[key] = fill(key, shape, gain) if role == "filled" else torch.zeros(shape, dtype=getattr(torch, dtype))
    return state


def worst_crop(x: Tensor, stored: Mapping[str, npt.NDArray[Any]], name: str) -> float:
    """Largest absolute difference of (1, C, H, W) from the first channels' middle, stored as `name_crop`, and a corner.

    Raises:
        AssertionError: another shape, or other statistics over the whole tensor (1e-4 of its mean absolute value).
    """
    assert tuple(x.shape) == tuple(stored[f"{name}_shape"])
    whole = x.double()
    found = [whole.mean(), whole.std(correction=0), whole.abs().sum()]
    scale = np.array([1, 1, x.numel()]) * float(whole.abs().mean())
    np.testing.assert_allclose(np.array([float(v) for v in found]) / scale, stored[f"{name}_stats"] / scale, atol=1e-4)
    crop = stored[f"{name}_crop"]
    differences = [np.abs(center(x, crop.shape[-1])[0, : len(crop)] - crop).max()]
    if f"{name}_corner" in stored:
        corner = stored[f"{name}_corner"]
        differences.append(np.abs(x[0, : len(corner), : corner.shape[1], : corner.shape[2]].numpy() - corner).max())
    return float(max(differences))
