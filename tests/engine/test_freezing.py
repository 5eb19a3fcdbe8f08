"""Frozen weights: the opponent's within one loss, named modules within one stage."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from plain_loop import Plain, alternating, assert_engine_is_plain, assert_same_state, changing, simultaneous
from tiny_gan import loader, make_batches, make_tiny, make_trainer
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


def frozen_names(paper: Paper) -> tuple[set[str], set[str]]:
    """Return the names of frozen parameters, and of modules in evaluation mode."""
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
def test_a_stage_freezes_what_it_names_and_no_more(stage: Stage, parameters: set[str], modules: set[str]) -> None:
    paper = Paper()
    freezer = ModuleFreezer(paper)
    for _ in range(2):
        freezer.freeze(stage)
        assert frozen_names(paper) == (parameters, modules)
    freezer.freeze(Stage(frozen=("generator.1.0",)))
    assert frozen_names(paper) == ({"generator.1.0.weight", "generator.1.0.bias"}, {"generator.1.0"})
    freezer.unfreeze()
    assert frozen_names(paper) == (set(), set())


@pytest.mark.parametrize("name", ["generator.0", "generator.0.1", "generator"])
def test_modules_that_the_paper_itself_freezes_stay_frozen(name: str) -> None:
    """Also below a module that the stage freezes."""
    paper = Paper()
    module = paper.get_submodule(name).requires_grad_(False)
    module.training = False
    before = frozen_names(paper)
    freezer = ModuleFreezer(paper)
    freezer.freeze(Stage(frozen=("generator.*",)))
    freezer.unfreeze()
    assert frozen_names(paper) == before


def test_a_frozen_module_has_no_gradient_left() -> None:
    """An optimizer would step along it."""
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
def test_names_with_wildcards(pattern: str, found: list[str]) -> None:
    paper = Paper()
    assert find_modules(paper, [pattern]) == [paper.get_submodule(name) for name in found]


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [("generater.0", "generator.0"), ("Discriminator", "discriminator"), ("generator.0.1.weight", "generator.0.1")],
)
def test_an_unknown_name_is_an_error_with_the_nearest_name(pattern: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"^no module is called '{pattern}'; did you mean '{nearest}'\?$"):
        find_modules(Paper(), ["generator.*", pattern])


def test_a_module_without_submodules() -> None:
    with pytest.raises(ValueError, match=r"no module is called 'x'$"):
        find_modules(nn.Linear(1, 1), ["x"])


# Training with frozen modules, against plain loops that freeze them by hand -------------------------------------------------


class FrozenState(Callback):
    """Record, after each batch, the generator's batch norm and the names of modules in evaluation mode."""

    def __init__(self) -> None:
        self.norms: list[dict[str, torch.Tensor]] = []
        self.in_eval: list[set[str]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.norms.append({name: tensor.clone() for name, tensor in pl_module.generator[1].state_dict().items()})
        self.in_eval.append({name for name, module in pl_module.named_modules() if not module.training})


@pytest.mark.parametrize("update", ["simultaneous", "alternating"])
@pytest.mark.parametrize("name", ["generator.1", "generator.[01]", "discriminator.0"])
def test_frozen_modules_are_frozen_for_one_stage(name: str, update: Any) -> None:
    order = simultaneous if update == "simultaneous" else alternating
    stages = (Stage("a", update, iterations=7), Stage("b", update, iterations=6, frozen=(name,)), Stage("c", update))

    def by_hand(plain: Plain, number: int) -> None:
        modules = {
            "generator.1": [plain.twin.generator[1]],
            "generator.[01]": [plain.twin.generator[0], plain.twin.generator[1]],
            "discriminator.0": [plain.twin.discriminator[0]],
        }
        for module in modules[name]:
            module.train(not 7 <= number < 13)
            module.requires_grad_(not 7 <= number < 13)

    model = make_tiny(stages=stages)
    assert_engine_is_plain(model, make_batches(20), changing(by_hand, lambda number: order))
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_frozen_batch_norm_is_constant_through_validations() -> None:
    """Scale, shift, running statistics and their count."""
    stages = (Stage("a", iterations=4), Stage("b", iterations=8, frozen=("generator.1",)), Stage("c"))
    model, state = make_tiny(stages=stages), FrozenState()
    trainer = make_trainer(16, state, val_check_interval=3, check_val_every_n_epoch=None)
    trainer.fit(model, loader(make_batches(16)), loader(make_batches(1)))
    assert state.in_eval == [set()] * 4 + [{"generator.1"}] * 8 + [set()] * 4
    for norm in state.norms[4:12]:
        assert_same_state(norm, state.norms[3])
    for index in (3, 12):
        assert all(not torch.equal(old, state.norms[index][name]) for name, old in state.norms[index - 1].items())


def test_a_run_that_ends_in_a_frozen_stage_leaves_nothing_frozen() -> None:
    model = make_tiny(
        stages=(Stage(frozen=("generator.1", "discriminator.*"), eval_modules=("generator.3",), discriminator=False),)
    )
    make_trainer(2).fit(model, loader(make_batches(2)))
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_modules_in_evaluation_mode_are_trained() -> None:
    stages = (Stage("a", iterations=7), Stage("b", iterations=6, eval_modules=("generator.1", "generator.3")), Stage("c"))

    def by_hand(plain: Plain, number: int) -> None:
        for module in (plain.twin.generator[1], plain.twin.generator[3]):
            module.train(not 7 <= number < 13)

    model, state = make_tiny(stages=stages, dropout=0.5), FrozenState()
    assert_engine_is_plain(model, make_batches(20), changing(by_hand))

    again = make_tiny(stages=stages, dropout=0.5)
    make_trainer(14, state).fit(again, loader(make_batches(20)))
    for name, before in state.norms[6].items():
        learnt = name in ("weight", "bias")
        assert torch.equal(before, state.norms[12][name]) != learnt, name
