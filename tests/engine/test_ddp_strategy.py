"""Two processes with half batches learn the same as one with whole batches, and compute the same metrics."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import tiny_pair
import torch
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, SingleDeviceStrategy
from tiny_gan import make_trainer
from tiny_pair import CLIPPED, GENERATOR_FIRST, MICRO_BATCHES, ORDERS, SIMULTANEOUS, WARM_UP, Case, difference

from lit_inpaint.data import DemoPhotos
from lit_inpaint.engine.ddp_strategy import no_sync, validate_strategy
from lit_inpaint.errors import UserError
from lit_inpaint.masks import Center
from lit_inpaint.settings import Stage

pytestmark = pytest.mark.xdist_group("tiny pairs")
Pair = Callable[[str], list[dict[str, Any]]]

EQUAL = {order: Case(stages) for order, stages in ORDERS.items()}
EQUAL |= {f"{order}, micro-batches": Case(stages, training=MICRO_BATCHES) for order, stages in ORDERS.items()}
EQUAL |= {f"{order}, clipped": Case(stages, training=CLIPPED) for order, stages in ORDERS.items()}
MEASURED = {f"{order}, measured": Case(ORDERS[order], validation=5, ema=0.5) for order in ("simultaneous", "alternating")}
SWITCH = (Stage(iterations=3), Stage(eval_modules=("generator.1", "discriminator.1")))
OTHERS = {
    "float": Case(precision="32-true"),
    "bf16, simultaneous": Case(precision="bf16-mixed"),
    "bf16, alternating": Case(ORDERS["alternating"], precision="bf16-mixed"),
    "own batch norm, measured": Case(batch_norm="own", validation=5),
    "own batch norm, EMA measured": Case(batch_norm="own", validation=5, ema=0.5),
    "a stage begins": Case(SWITCH, "own", ema=0.5),
    "a stage begins after a validation": Case(SWITCH, "own", ema=0.5, validation=5),
    "all_reduces": Case(count_all_reduces=True),
    "all_reduces, micro-batches": Case(training=MICRO_BATCHES, count_all_reduces=True),
    "collectives": Case(count_collectives=True),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return tiny_pair.fit_pairs(tmp_path_factory.mktemp("pair"), EQUAL | MEASURED | OTHERS)


@pytest.mark.parametrize("name", [*EQUAL, *MEASURED])
def test_two_processes_learn_the_same_as_one(name: str, pair: Pair) -> None:
    first, second = pair(name)
    one = tiny_pair.fit((EQUAL | MEASURED)[name], 1)
    assert difference(first["weights"], second["weights"]) == 0
    assert difference(first["weights"], one["weights"]) < 1e-13


def test_two_processes_learn_the_same_in_single_precision(pair: Pair) -> None:
    first, second = pair("float")
    assert difference(first["weights"], second["weights"]) == 0
    assert difference(first["weights"], tiny_pair.fit(OTHERS["float"], 1)["weights"]) < 1e-5


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
def test_bf16_runs_and_the_processes_agree(order: str, pair: Pair) -> None:
    first, second = pair(f"bf16, {order}")
    assert difference(first["weights"], second["weights"]) == 0
    assert all(tensor.isfinite().all() for tensor in first["weights"].values())
    assert difference(first["weights"], tiny_pair.make_model(OTHERS[f"bf16, {order}"]).state_dict()) > 1e-2


def test_gradients_are_reduced_once_per_update_however_many_micro_batches_it_has(pair: Pair) -> None:
    assert [found["all_reduces"] for found in pair("all_reduces")] == [tiny_pair.STEPS] * 2
    assert [found["all_reduces"] for found in pair("all_reduces, micro-batches")] == [tiny_pair.STEPS] * 2


# Validation -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEASURED)
def test_metrics_of_processes_with_different_numbers_of_batches_are_those_of_one(name: str, pair: Pair) -> None:
    first, second = pair(name)
    one = tiny_pair.fit(MEASURED[name], 1)
    assert first["counted"] == second["counted"] == one["counted"] == [5, 5, 5]
    for a, b in zip(first["measured"], one["measured"], strict=True):
        assert {key: f"{value:.8g}" for key, value in a.items()} == {key: f"{value:.8g}" for key, value in b.items()}
    assert first["measured"] == second["measured"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_fewer_samples_than_processes_is_an_error(split: str) -> None:
    """Lightning skips the validation of a process without batches; the others would wait for it without end."""
    data = DemoPhotos(val_images=1, test_images=1, val_crops=2, val_masks=[Center()], workers=0)
    data.setup("fit" if split == "validation" else "test")
    loader = data.val_dataloader if split == "validation" else data.test_dataloader
    data.trainer = cast(Any, SimpleNamespace(global_rank=0, world_size=2, num_devices=2, global_step=0))
    assert len(loader().sampler) == 1
    data.trainer = cast(Any, SimpleNamespace(global_rank=0, world_size=3, num_devices=3, global_step=0))
    with pytest.raises(UserError, match=f"2 {split} samples for 3 processes"):
        loader()


@pytest.mark.parametrize("name", ["own batch norm, measured", "own batch norm, EMA measured"])
def test_all_processes_validate_the_network_of_the_first(name: str, pair: Pair) -> None:
    """Without a broadcast each has its own running statistics; nor do they change during a validation."""
    first, second = pair(name)
    assert first["counted"] == second["counted"] == [5, 5, 5]
    assert difference(first["weights"], second["weights"]) > 1e-3, "nothing to broadcast"
    assert [difference(a, b) for a, b in zip(first["networks"], second["networks"], strict=True)] == [0, 0, 0]


def test_a_validation_changes_nothing_in_training(pair: Pair) -> None:
    """Here batch norm changes to its running statistics in the very batch after a validation."""
    for measured, unmeasured in zip(pair("a stage begins after a validation"), pair("a stage begins"), strict=True):
        assert difference(measured["weights"], unmeasured["weights"]) == 0


# The strategy ---------------------------------------------------------------------------------------------------------------


def test_ddp_searches_for_unused_parameters_only_where_there_are_some(pair: Pair) -> None:
    """Read from DDP itself: a renamed private name of Lightning would fail here."""
    found = {order: [process["finds_unused"] for process in pair(order)] for order in ORDERS}
    assert found == {order: [order != "simultaneous"] * 2 for order in ORDERS}


def strategy(name: str) -> DDPStrategy:
    chosen = make_trainer(1, devices=2, strategy=name).strategy
    assert isinstance(chosen, DDPStrategy)
    return chosen


def test_a_requested_search_stays() -> None:
    requested = strategy("ddp_find_unused_parameters_true")
    for stages in (SIMULTANEOUS, GENERATOR_FIRST):
        validate_strategy(requested, stages, has_discriminator=True)
        assert requested._ddp_kwargs == {"find_unused_parameters": True, "gradient_as_bucket_view": True}
    requested = strategy("ddp_find_unused_parameters_false")
    validate_strategy(requested, SIMULTANEOUS, has_discriminator=True)
    assert requested._ddp_kwargs == {"find_unused_parameters": False, "gradient_as_bucket_view": True}


@pytest.mark.parametrize("name", ["ddp", "auto", "ddp_spawn"])
def test_what_is_left_open_is_settled_once_and_for_all(name: str) -> None:
    open_ = strategy(name)
    validate_strategy(open_, SIMULTANEOUS, has_discriminator=True)
    assert open_._ddp_kwargs == {"gradient_as_bucket_view": True}
    for _ in range(2):
        validate_strategy(open_, WARM_UP, has_discriminator=True)
        assert open_._ddp_kwargs == {"find_unused_parameters": True, "gradient_as_bucket_view": True}


def test_requested_copies_of_gradients_stay() -> None:
    requested = DDPStrategy(gradient_as_bucket_view=False)
    validate_strategy(requested, SIMULTANEOUS, has_discriminator=True)
    assert requested._ddp_kwargs == {"gradient_as_bucket_view": False}


def test_one_player_has_unused_parameters_only_if_a_module_is_frozen() -> None:
    alone = strategy("ddp")
    validate_strategy(alone, (Stage(discriminator=False),), has_discriminator=False)
    assert alone._ddp_kwargs == {"gradient_as_bucket_view": True}
    validate_strategy(alone, (Stage(discriminator=False, frozen=("generator.0",)),), has_discriminator=False)
    assert alone._ddp_kwargs == {"find_unused_parameters": True, "gradient_as_bucket_view": True}


@pytest.mark.parametrize("order", [order for order in ORDERS if order != "simultaneous"])
def test_a_strategy_without_that_search_is_a_one_line_error(order: str) -> None:
    with pytest.raises(UserError, match="expects a gradient for every parameter") as refused:
        validate_strategy(strategy("ddp_find_unused_parameters_false"), ORDERS[order], has_discriminator=True)
    assert "--trainer.strategy ddp" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", [FSDPStrategy, DeepSpeedStrategy])
def test_unsupported_strategies_are_refused_with_the_reason(kind: type) -> None:
    with pytest.raises(UserError, match=f"{kind.__name__} cannot .* one optimizer, FSDP merges .* --trainer.strategy ddp"):
        validate_strategy(object.__new__(kind), SIMULTANEOUS, has_discriminator=True)


def test_one_device_needs_no_strategy() -> None:
    alone = SingleDeviceStrategy(torch.device("cpu"))
    validate_strategy(alone, WARM_UP, has_discriminator=True)
    with no_sync(alone, True):
        pass


def test_a_pair_that_hangs_is_killed_and_fails(tmp_path: Path) -> None:
    script = tmp_path / "hangs.py"
    script.write_text("import time\nprint('started', flush=True)\ntime.sleep(60)\n")
    with pytest.raises(AssertionError, match="hang"):
        tiny_pair.run_pair(tmp_path, str(script), timeout=1)


def test_two_processes_exchange_two_numbers_per_batch(pair: Pair) -> None:
    """One for values that are not finite, one for signals; beside the gradients, which DDP reduces. Three batches."""
    assert [found["collectives"] for found in pair("collectives")] == [{"all_reduce": 6}] * 2
