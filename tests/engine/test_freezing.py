"""Weights that stand still for one loss, and parts of a paper that stand still for one stage."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_inpaint.engine.freezing import ModuleFreezer, find_modules, frozen
from lit_inpaint.settings import Stage


def test_frozen_passes_gradients_through_but_not_into() -> None:
    layer, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    with frozen(layer):
        loss = layer(x).sum()
    loss.backward()
    assert torch.equal(x.grad, layer.weight)
    assert layer.weight.grad is None
    assert layer.weight.requires_grad


def test_frozen_restores_exactly_what_it_found() -> None:
    layer = nn.Linear(2, 1)
    layer.bias.requires_grad_(False)
    with frozen(layer):
        assert not layer.weight.requires_grad
    assert (layer.weight.requires_grad, layer.bias.requires_grad) == (True, False)
    with pytest.raises(KeyError), frozen(layer):
        raise KeyError
    assert (layer.weight.requires_grad, layer.bias.requires_grad) == (True, False)
    with frozen(None):
        pass


class Paper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        blocks = [nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)) for _ in range(2)]
        self.generator = nn.Sequential(*blocks, nn.Dropout(0.5))
        self.discriminator = nn.Linear(2, 1)


def still(paper: Paper) -> tuple[set[str], set[str]]:
    """Names of parameters that do not learn, and of modules in evaluation mode."""
    parameters = {name for name, parameter in paper.named_parameters() if not parameter.requires_grad}
    return parameters, {name for name, module in paper.named_modules() if not module.training}


NORMS = {"generator.0.1", "generator.1.1"}
OF_NORMS = {f"{name}.{which}" for name in NORMS for which in ("weight", "bias")}


@pytest.mark.parametrize(
    ("stage", "parameters", "modules"),
    [
        (Stage(), set(), set()),
        (Stage(frozen=("generator.*.1",)), OF_NORMS, NORMS),
        (Stage(eval_modules=("generator.*.1",)), set(), NORMS),
        (Stage(frozen=("discriminator",)), {"discriminator.weight", "discriminator.bias"}, {"discriminator"}),
        (Stage(frozen=("generator.[01].1", "generator.0.1"), eval_modules=("generator.2",)), OF_NORMS, NORMS | {"generator.2"}),
        (Stage(eval_modules=("generator.0",)), set(), {"generator.0", "generator.0.0", "generator.0.1"}),
    ],
)
def test_a_stage_holds_still_what_it_names_and_no_more(stage: Stage, parameters: set[str], modules: set[str]) -> None:
    paper = Paper()
    parts = ModuleFreezer(paper)
    for _ in range(2):
        parts.freeze(stage)
        assert still(paper) == (parameters, modules)
    parts.freeze(Stage(frozen=("generator.1.0",)))
    assert still(paper) == ({"generator.1.0.weight", "generator.1.0.bias"}, {"generator.1.0"})
    parts.unfreeze()
    assert still(paper) == (set(), set())


@pytest.mark.parametrize("name", ["generator.0", "generator.0.1", "generator"])
def test_what_a_paper_itself_freezes_stays_frozen(name: str) -> None:
    """Also below a module that the stage freezes."""
    paper = Paper()
    module = paper.get_submodule(name).requires_grad_(False)
    module.training = False
    before = still(paper)
    parts = ModuleFreezer(paper)
    parts.freeze(Stage(frozen=("generator.*",)))
    parts.unfreeze()
    assert still(paper) == before


def test_a_part_that_falls_asleep_has_no_gradient_left() -> None:
    """With which an optimizer would go on."""
    paper = Paper()
    paper.discriminator(torch.ones(1, 2)).sum().backward()
    ModuleFreezer(paper).freeze(Stage(frozen=("discriminator",)))
    assert paper.discriminator.weight.grad is None


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("generator.0", ["generator.0"]),
        ("generator.*.1", ["generator.0.1", "generator.1.1"]),
        ("*.0", ["generator.0", "generator.0.0", "generator.1.0"]),
        ("discriminator", ["discriminator"]),
    ],
)
def test_patterns(pattern: str, found: list[str]) -> None:
    paper = Paper()
    assert find_modules(paper, [pattern]) == [paper.get_submodule(name) for name in found]


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [("generater.0", "generator.0"), ("Discriminator", "discriminator"), ("generator.0.1.weight", "generator.0.1")],
)
def test_a_pattern_that_fits_nothing_is_named_with_the_nearest(pattern: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"^no module is called '{pattern}'; did you mean '{nearest}'\?$"):
        find_modules(Paper(), ["generator.*", pattern])


def test_a_paper_without_parts() -> None:
    with pytest.raises(ValueError, match=r"no module is called 'x'$"):
        find_modules(nn.Linear(1, 1), ["x"])
