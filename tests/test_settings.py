"""Validation of stages and training settings, the optimizers they build, and their plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lit_inpaint.schedules import Linear, Steps
from lit_inpaint.settings import SGD, Adadelta, Adam, AdamW, OptimizerSettings, Stage, Training, plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generator": False, "discriminator": False}, "stage 'x' has no player"),
        ({"iterations": 0}, "stage 'x' lasts 0 iterations"),
        ({"iterations": -3}, "stage 'x' lasts -3 iterations"),
        ({"d_steps": 0, "update": "alternating"}, "d_steps=0"),
        ({"d_steps": 2}, "d_steps=2 needs update='alternating'"),
        ({"d_steps": 2, "update": "generator_first"}, "d_steps=2 needs update='alternating'"),
        ({"generator_every": 0, "update": "alternating"}, "generator_every=0; give 1 or more"),
        ({"generator_every": 2}, "generator_every=2 needs update='alternating' and both players"),
        ({"generator_every": 2, "update": "alternating", "discriminator": False}, "generator_every=2 needs"),
        ({"leftover_gradients": True}, "leftover_gradients needs update='alternating' and both players"),
        ({"leftover_gradients": True, "update": "alternating", "generator": False}, "leftover_gradients needs"),
        ({"recompute": True}, "recompute needs update='generator_first'"),
        ({"epochs": 0}, "stage 'x' lasts 0 epochs; give 1 or more, or None for the rest"),
        ({"iterations": 4, "epochs": 2}, "stage 'x' has iterations=4 and epochs=2; give one of them"),
    ],
)
def test_invalid_stages(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stage("x", **arguments)


def test_valid_stages() -> None:
    assert Stage() == Stage("adversarial", "simultaneous", True, True, None, 1)
    assert Stage(update="alternating", d_steps=5).d_steps == 5
    assert Stage(discriminator=False, iterations=1).iterations == 1
    assert Stage(epochs=1).epochs == 1


@pytest.mark.parametrize(
    ("stage", "players"),
    [
        (Stage(), ("generator", "discriminator")),
        (Stage(discriminator=False), ("generator",)),
        (Stage(generator=False), ("discriminator",)),
    ],
)
def test_players_of_a_stage(stage: Stage, players: tuple[str, ...]) -> None:
    assert stage.players == players


@pytest.mark.parametrize("player", ["clip_generator", "clip_discriminator"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_invalid_clipping(player: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{player}={value}.*above 0"):
        Training(**{player: value})


@pytest.mark.parametrize("name", ["accumulate_generator", "accumulate_discriminator"])
@pytest.mark.parametrize("value", [0, -2])
def test_invalid_accumulation(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}; give the number of micro-batches, 1 for the whole batch"):
        Training(**{name: value})


# Optimizers ------------------------------------------------------------------------------------------------------------------

BUILT: dict[str, tuple[OptimizerSettings, type[torch.optim.Optimizer], dict[str, Any]]] = {
    "Adadelta": (
        Adadelta(lr=0.5, rho=0.8, eps=1e-5, weight_decay=0.1),
        torch.optim.Adadelta,
        {"lr": 0.5, "rho": 0.8, "eps": 1e-5, "weight_decay": 0.1},
    ),
    "Adam": (
        Adam(lr=3e-4, betas=(0.1, 0.2), eps=1e-5, weight_decay=0.3),
        torch.optim.Adam,
        {"lr": 3e-4, "betas": (0.1, 0.2), "eps": 1e-5, "weight_decay": 0.3},
    ),
    "AdamW": (
        AdamW(lr=2e-4, betas=(0.3, 0.4), eps=1e-6, weight_decay=0.2),
        torch.optim.AdamW,
        {"lr": 2e-4, "betas": (0.3, 0.4), "eps": 1e-6, "weight_decay": 0.2},
    ),
    "SGD": (
        SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ),
}


@pytest.mark.parametrize("name", BUILT)
def test_settings_build_their_optimizer(name: str) -> None:
    settings, kind, arguments = BUILT[name]
    layer = nn.Linear(2, 2)
    optimizer = settings.build(layer.parameters())
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {key: group[key] for key in arguments} == arguments
    assert [id(p) for p in group["params"]] == [id(p) for p in layer.parameters()]
    assert settings.options() == {key: value for key, value in arguments.items() if key != "lr"}


@pytest.mark.parametrize(
    ("settings", "rate"),
    [(Adam(), {"lr": 1e-4}), (AdamW(), {}), (SGD(), {}), (Adadelta(), {})],
    ids=["Adam", "AdamW", "SGD", "Adadelta"],
)
def test_defaults_are_those_of_pytorch_except_adams_learning_rate(settings: OptimizerSettings, rate: dict[str, float]) -> None:
    layer = nn.Linear(1, 1)
    theirs = getattr(torch.optim, type(settings).__name__)(layer.parameters(), **rate)
    (ours,), (expected,) = settings.build(layer.parameters()).param_groups, theirs.param_groups
    assert {k: v for k, v in ours.items() if k != "params"} == {k: v for k, v in expected.items() if k != "params"}


@pytest.mark.parametrize("kind", [Adadelta, Adam, AdamW, SGD])
def test_a_scheduled_learning_rate_is_zero_until_the_engine_sets_it(kind: Any) -> None:
    settings = kind(lr=Linear(1e-3))
    assert settings.build(nn.Linear(1, 1).parameters()).param_groups[0]["lr"] == 0
    assert "lr" not in settings.options()


# Plain data ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nested:
    training: Training = field(default_factory=Training)
    optimizer: OptimizerSettings = field(default_factory=lambda: SGD(Steps(0.1, milestones=(3,))))
    names: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"a": (1, 2)})


def test_plain_converts_settings(tmp_path: Path) -> None:
    value = {"n": None, "b": True, "i": 3, "f": np.float64(0.5), "s": "x", "l": [1, (2, 3)], "d": Nested(), 7: "seven"}
    expected = {
        "n": None, "b": True, "i": 3, "f": 0.5, "s": "x", "l": [1, [2, 3]], "7": "seven",
        "d": {
            "training": {"clip_generator": None, "clip_discriminator": None, "accumulate_generator": 1,
                         "accumulate_discriminator": 1, "channels_last": True, "compile": False},
            "optimizer": {"class_path": "lit_inpaint.settings.SGD", "init_args": {
                "lr": {"class_path": "lit_inpaint.schedules.Steps",
                       "init_args": {"start": 0.1, "factor": 0.1, "milestones": [3], "by": "iteration"}},
                "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}},
            "names": {"a": [1, 2]},
        },
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
        (Stage, "type"),
        (np.float32(1), "float32"),
        (np.int64(1), "int64"),
    ],
)
def test_plain_refuses_other_types_by_name(value: object, name: str) -> None:
    for wrapped in (value, [value], {"deep": {"er": (value,)}}):
        with pytest.raises(TypeError, match=f"^{name} is not plain data"):
            plain(wrapped)
