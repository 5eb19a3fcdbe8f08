"""Renaming and strict loading of public state dicts; the papers' tests cover their names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_inpaint.errors import UserError
from lit_inpaint.official_weights.renaming import load_renamed, rename

NAMES = {"w": "weight", "b": "bias"}


def test_loads_under_our_names() -> None:
    layer = nn.Linear(2, 3)
    weights = rename({"w": torch.ones(3, 2), "b": torch.zeros(3)}, NAMES.get)
    assert weights.public_names == {"weight": "w", "bias": "b"}
    load_renamed([("it does not fit", layer, weights)])
    assert layer.weight.eq(1).all()
    assert layer.bias.eq(0).all()


@pytest.mark.parametrize(
    ("public", "listed"),
    [
        ({"w": torch.ones(3, 2)}, "1 weights: bias"),
        ({"w": torch.ones(3, 2), "b": torch.zeros(3), "x": torch.zeros(1)}, "1 weights: x"),
        ({"w": torch.ones(2, 2), "b": torch.zeros(3)}, "1 weights: w"),
        ({"w": torch.ones(3, 2), "b": torch.zeros(3), "weight": torch.ones(3, 2)}, "1 weights: weight"),
    ],
    ids=["missing", "unknown", "shape", "our name"],
)
def test_differences_are_listed_and_nothing_is_loaded(public: dict[str, torch.Tensor], listed: str) -> None:
    first, second = nn.Linear(2, 3), nn.Linear(2, 3)
    before = first.weight.clone()
    good = rename({"w": torch.ones(3, 2), "b": torch.zeros(3)}, NAMES.get)
    with pytest.raises(UserError, match=f"^B does not fit; missing, unknown or of another shape are {listed}$"):
        load_renamed([("A does not fit", first, good), ("B does not fit", second, rename(public, NAMES.get))])
    assert torch.equal(first.weight, before)
