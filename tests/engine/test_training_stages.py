"""The stage, loss weights and learning rates of a batch, and the optimizers of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from lit_inpaint.engine.training_stages import StageSchedule, assign_optimizers
from lit_inpaint.schedules import Linear, Schedule, Steps, Value
from lit_inpaint.settings import SGD, Adam, OptimizerSettings, Player, Stage


@dataclass(frozen=True)
class SomeWeights:
    l1: Value = 3.0
    coarse: Value = field(default_factory=lambda: Linear(5.0))
    fake: Value = 1.0


def names(stages: StageSchedule, *iterations: int) -> list[str]:
    return [stages.at(k).stage.name for k in iterations]


def spans_of(stages: StageSchedule) -> list[tuple[str, int, int | None]]:
    return [(span.stage.name, span.begin, span.end) for span in stages.spans]


# Stages ----------------------------------------------------------------------------------------------------------------------


def test_stages_follow_each_other() -> None:
    stages = StageSchedule((Stage("a", iterations=2), Stage("b", iterations=3), Stage("c")))
    assert names(stages, 0, 1, 2, 4, 5, 10**6) == ["a", "a", "b", "b", "c", "c"]
    assert spans_of(stages) == [("a", 0, 2), ("b", 2, 5), ("c", 5, None)]
    assert [span.number for span in stages.spans] == [0, 1, 2]
    assert stages.length is None
    assert names(StageSchedule((Stage("only"),)), 0) == ["only"]


def test_stages_in_epochs() -> None:
    stages = StageSchedule((Stage("a", epochs=2), Stage("b", iterations=3), Stage("c", epochs=1)), per_epoch=7)
    assert spans_of(stages) == [("a", 0, 14), ("b", 14, 17), ("c", 17, 24)]
    assert stages.length == 24


def test_after_the_last_batch_the_last_stage() -> None:
    stages = StageSchedule((Stage("a", iterations=2), Stage("b", iterations=3)))
    assert stages.length == 5
    assert names(stages, 4, 5, 99) == ["b", "b", "b"]


@pytest.mark.parametrize(
    ("last", "limit", "end", "length"),
    [(None, 9, 9, 9), (None, None, None, None), (3, 9, 5, 5), (3, 4, 5, 4), (3, 5, 5, 5), (3, None, 5, 5)],
)
def test_an_open_end_is_the_trainers_limit(last: int | None, limit: int | None, end: int | None, length: int | None) -> None:
    """A closed end is kept; the run ends at the smaller of the two."""
    stages = StageSchedule((Stage("a", iterations=2), Stage("b", iterations=last)), limit=limit)
    assert stages.spans[-1].end == end
    assert stages.length == length


def test_a_limit_within_the_first_stage() -> None:
    stages = StageSchedule((Stage("a", iterations=10), Stage("b")), limit=5)
    assert stages.length == 5
    assert names(stages, 0, 4, 5) == ["a", "a", "a"]


@pytest.mark.parametrize("second", [Stage("second", iterations=2), Stage("second")])
def test_an_open_stage_before_the_last_is_refused(second: Stage) -> None:
    with pytest.raises(ValueError, match="only the last stage may leave its length open: first, second"):
        StageSchedule((Stage("first"), second))


def test_no_stages_is_an_error() -> None:
    with pytest.raises(ValueError, match="a paper needs at least one stage"):
        StageSchedule(())


def test_epochs_of_data_without_a_length_are_refused() -> None:
    with pytest.raises(ValueError, match="stage 'a' lasts 2 epochs, but the data has no length; give iterations"):
        StageSchedule((Stage("a", epochs=2), Stage("b")))


# Schedules -------------------------------------------------------------------------------------------------------------------

TWO = (Stage("a", iterations=4, weights={"l1": Linear(8.0), "fake": 0.5}), Stage("b", weights={"coarse": Linear(2.0)}))


def test_schedules_of_the_paper_start_with_the_run_and_of_a_stage_with_the_stage() -> None:
    stages = StageSchedule(TWO, limit=10)
    for k in range(4):
        expected = {"l1": 8 * (1 - k / 4), "coarse": 5 * (1 - k / 10), "fake": 0.5}
        assert stages.weights(SomeWeights(), k) == pytest.approx(expected)
    for k in range(4, 11):
        assert stages.weights(SomeWeights(), k) == pytest.approx({"l1": 3, "coarse": 2 * (1 - (k - 4) / 6), "fake": 1})


def test_changing_weights() -> None:
    assert StageSchedule(TWO).changing_weights(SomeWeights()) == ["l1", "coarse", "fake"]
    assert StageSchedule((Stage(),)).changing_weights(SomeWeights()) == ["coarse"]
    assert StageSchedule((Stage(),)).changing_weights(SomeWeights(coarse=1.0)) == []


def test_the_same_holds_for_learning_rates() -> None:
    own, of_stage = Adam(lr=Linear(1.0)), SGD(lr=Linear(6.0, by="epoch"))
    stages = StageSchedule((Stage("a", epochs=2), Stage("b", generator_optimizer=of_stage)), per_epoch=2, limit=10)
    for k in range(4):
        assert stages.optimizer("generator", own, k) == (own, pytest.approx(1 - k / 10))
    for k in range(4, 10):
        assert stages.optimizer("generator", own, k) == (of_stage, pytest.approx(6 * (1 - ((k - 4) // 2) / 3)))
        assert stages.optimizer("discriminator", own, k) == (own, pytest.approx(1 - k / 10)), "unchanged for the other player"


@pytest.mark.parametrize("schedule", [Linear(1.0), Steps(1.0, milestones=(1,), by="epoch")])
def test_a_schedule_without_a_known_length_is_an_error(schedule: Schedule) -> None:
    with pytest.raises(ValueError, match=r"needs a length, since the run has no end|needs training data of known length"):
        StageSchedule((Stage(),)).weights(SomeWeights(coarse=schedule), 0)


def test_an_unknown_weight_is_named_with_the_stage() -> None:
    stages = StageSchedule(
        (Stage("a", iterations=1), Stage("b", weights={"style": 1.0, "perceptual": 2.0, "l1": 1.0})), limit=5
    )
    stages.weights(SomeWeights(), 0)
    with pytest.raises(ValueError, match="stage 'b' weighs perceptual, style, but the paper's weights are l1, coarse, fake"):
        stages.weights(SomeWeights(), 1)


# Optimizers over a run -------------------------------------------------------------------------------------------------------

ADAM, LATER, SGD_ = Adam(lr=1.0), Adam(lr=2.0, betas=(0.5, 0.9)), SGD(lr=3.0)


@pytest.mark.parametrize(
    ("stages", "built", "indices"),
    [
        pytest.param((Stage(),), [ADAM], [0], id="one stage"),
        pytest.param((Stage(), Stage(generator_optimizer=LATER)), [ADAM], [0, 0], id="new hyperparameters: kept"),
        pytest.param((Stage(), Stage(fresh_optimizers=True)), [ADAM, ADAM], [0, 1], id="fresh"),
        pytest.param(
            (Stage(), Stage(generator_optimizer=LATER, fresh_optimizers=True)),
            [ADAM, LATER],
            [0, 1],
            id="fresh, new hyperparameters",
        ),
        pytest.param((Stage(), Stage(generator_optimizer=SGD_)), [ADAM, SGD_], [0, 1], id="another kind"),
        pytest.param(
            (Stage(), Stage(generator_optimizer=SGD_), Stage()), [ADAM, SGD_, ADAM], [0, 1, 2], id="another kind and back"
        ),
        pytest.param(
            (Stage(generator_optimizer=SGD_), Stage(generator_optimizer=SGD(lr=4.0)), Stage(), Stage()),
            [SGD_, ADAM],
            [0, 0, 1, 1],
            id="the first stage's own",
        ),
        pytest.param((Stage(discriminator_optimizer=SGD_), Stage()), [ADAM], [0, 0], id="the other player's"),
        pytest.param((Stage(fresh_optimizers=True),), [ADAM], [0], id="a first stage is fresh anyway"),
        pytest.param(
            (Stage(generator_optimizer=SGD_), Stage(generator=False, fresh_optimizers=True), Stage(generator_optimizer=SGD_)),
            [SGD_],
            [0, 0, 0],
            id="a stage without the player changes nothing",
        ),
        pytest.param((Stage(generator=False), Stage(generator_optimizer=SGD_)), [SGD_], [0, 0], id="not trained at first"),
        pytest.param((Stage(generator=False),), [ADAM], [0], id="never trained"),
    ],
)
def test_optimizers_of_a_run(stages: tuple[Stage, ...], built: list[OptimizerSettings], indices: list[int]) -> None:
    player: Player = "generator"
    assert assign_optimizers(stages, player, ADAM) == (built, indices)
