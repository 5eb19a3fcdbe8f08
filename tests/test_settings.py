from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lit_inpaint.settings import Adam, Stage, Training, plain, stage_at


def test_stage_at_walks_through_the_plan() -> None:
    plan = (Stage("a", iterations=2), Stage("b", iterations=3), Stage("c"))
    assert [stage_at(plan, k).name for k in (0, 1, 2, 4, 5, 10**6)] == ["a", "a", "b", "b", "c", "c"]
    assert stage_at((Stage("only"),), 0).name == "only"


def test_stage_at_refuses_what_lies_behind_the_end() -> None:
    plan = (Stage("a", iterations=2), Stage("b", iterations=3))
    assert stage_at(plan, 4).name == "b"
    with pytest.raises(ValueError, match=r"iteration 5 lies behind the last stage, which ends at 5; lower trainer.max_steps"):
        stage_at(plan, 5)
    with pytest.raises(ValueError, match="ends at 0"):
        stage_at((), 0)


@pytest.mark.parametrize("iteration", [0, 7])
def test_stage_at_refuses_an_open_stage_before_the_last(iteration: int) -> None:
    with pytest.raises(ValueError, match="only the last stage may leave its iterations open: first, second"):
        stage_at((Stage("first"), Stage("second", iterations=2)), iteration)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generator": False, "discriminator": False}, "stage 'x' has no player"),
        ({"iterations": 0}, "stage 'x' lasts 0 iterations"),
        ({"iterations": -3}, "stage 'x' lasts -3 iterations"),
        ({"d_steps": 0, "update": "alternating"}, "d_steps=0"),
        ({"d_steps": 2}, "d_steps=2 needs update='alternating'"),
        ({"d_steps": 2, "update": "generator_first"}, "d_steps=2 needs update='alternating'"),
    ],
)
def test_stage_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stage("x", **arguments)


def test_stage_defaults_and_what_is_allowed() -> None:
    assert Stage() == Stage("adversarial", "simultaneous", True, True, None, 1)
    assert Stage(update="alternating", d_steps=5).d_steps == 5
    assert Stage(discriminator=False, iterations=1).iterations == 1


@pytest.mark.parametrize("player", ["clip_generator", "clip_discriminator"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_training_refuses_a_limit_that_would_not_limit(player: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{player}={value}.*above 0"):
        Training(**{player: value})


def test_adam_builds_what_it_says() -> None:
    layer = nn.Linear(2, 2)
    optimizer = Adam(lr=3e-4, betas=(0.1, 0.2), eps=1e-5, weight_decay=0.3).build(layer.parameters())
    assert type(optimizer) is torch.optim.Adam
    (group,) = optimizer.param_groups
    assert [group[name] for name in ("lr", "betas", "eps", "weight_decay")] == [3e-4, (0.1, 0.2), 1e-5, 0.3]
    assert [id(p) for p in group["params"]] == [id(p) for p in layer.parameters()]


def test_adam_defaults_are_pytorchs_but_for_the_rate() -> None:
    layer = nn.Linear(1, 1)
    (ours,), (theirs,) = (
        Adam().build(layer.parameters()).param_groups,
        torch.optim.Adam(layer.parameters(), lr=1e-4).param_groups,
    )
    assert {k: v for k, v in ours.items() if k != "params"} == {k: v for k, v in theirs.items() if k != "params"}


@dataclass(frozen=True)
class Nested:
    adam: Adam = field(default_factory=Adam)
    names: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"a": (1, 2)})


def test_plain_turns_settings_into_data(tmp_path: Path) -> None:
    value = {"n": None, "b": True, "i": 3, "f": np.float64(0.5), "s": "x", "l": [1, (2, 3)], "d": Nested(), 7: "seven"}
    expected = {
        "n": None, "b": True, "i": 3, "f": 0.5, "s": "x", "l": [1, [2, 3]], "7": "seven",
        "d": {"adam": {"lr": 1e-4, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}, "names": {"a": [1, 2]}},
    }  # fmt: skip
    assert plain(value) == expected
    assert plain(value)["b"] is True
    torch.save(plain(value), tmp_path / "plain.pt")
    assert torch.load(tmp_path / "plain.pt", weights_only=True) == expected


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Path("x"), "PosixPath"),
        (nn.Linear(1, 1), "Linear"),
        (torch.zeros(1), "Tensor"),
        ({1, 2}, "set"),
        (Adam, "type"),
        (np.float32(1), "float32"),
        (np.int64(1), "int64"),
    ],
)
def test_plain_refuses_the_rest_by_name(value: object, name: str) -> None:
    for wrapped in (value, [value], {"deep": {"er": (value,)}}):
        with pytest.raises(TypeError, match=f"^{name} is not plain data"):
            plain(wrapped)
