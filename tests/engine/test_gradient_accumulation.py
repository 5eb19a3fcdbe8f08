"""Cutting a batch and putting predictions together again."""

from __future__ import annotations

import pytest
import torch
from plain_loop import parts_of
from tiny_gan import make_batches

from lit_inpaint.engine.gradient_accumulation import concat_predictions, slice_prediction, split_batch
from lit_inpaint.types import Prediction


@pytest.mark.parametrize("samples", [1, 2, 5, 6])
@pytest.mark.parametrize("count", [1, 2, 3, 6, 9])
def test_a_split_is_the_batch_in_order(samples: int, count: int) -> None:
    (batch,) = make_batches(1, samples=samples)
    parts = split_batch(batch, count)
    sizes = [len(part.batch["name"]) for part in parts]
    assert len(parts) == min(count, samples)
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == samples
    for key in ("image", "mask"):
        assert torch.equal(torch.cat([part.batch[key] for part in parts]), batch[key])
    assert [name for part in parts for name in part.batch["name"]] == batch["name"]
    assert [part.fraction for part in parts] == pytest.approx([size / samples for size in sizes])
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]
    for part in parts:
        assert torch.equal(batch["image"][part.samples], part.batch["image"])


def test_one_part_is_the_batch_itself() -> None:
    (batch,) = make_batches(1, samples=3)
    (part,) = split_batch(batch, 1)
    assert part.batch is batch
    assert part.fraction == 1.0


@pytest.mark.parametrize(("samples", "count"), [(4, 2), (5, 2), (5, 3), (3, 8)])
def test_the_reference_cuts_alike(samples: int, count: int) -> None:
    (batch,) = make_batches(1, samples=samples)
    ours, reference = split_batch(batch, count), parts_of(batch, count)
    assert [(part.batch["name"], part.fraction) for part in ours] == [(cut["name"], share) for cut, share in reference]


@pytest.mark.parametrize("made", [1, 2, 5])
@pytest.mark.parametrize("seen", [1, 3, 5])
def test_predictions_made_in_some_parts_and_seen_in_others(made: int, seen: int) -> None:
    (batch,) = make_batches(1, samples=5)
    predictions = [
        Prediction(part.batch["image"] * 2, {"coarse": part.batch["image"] + 1}) for part in split_batch(batch, made)
    ]
    whole = concat_predictions(predictions)
    for part in split_batch(batch, seen):
        prediction = slice_prediction(whole, part)
        assert torch.equal(prediction.image, part.batch["image"] * 2)
        assert torch.equal(prediction.stages["coarse"], part.batch["image"] + 1)
        assert prediction.stages.keys() == {"coarse"}


def test_a_single_prediction_is_not_copied() -> None:
    prediction = Prediction(torch.ones(2, 3, 4, 4))
    assert concat_predictions([prediction]) is prediction
