"""What images are seen through: by whom it is held, and how often it looks."""

from __future__ import annotations

import pickle

import torch
from tiny_features import TinyFeatures, images
from torch import nn

from lit_inpaint.metrics.fid import FID
from lit_inpaint.metrics.kid import KID


def test_truths_are_looked_at_once_and_completions_once_for_two_measures() -> None:
    features = TinyFeatures()
    batches = [images(5, seed) for seed in range(3)]
    for shift in (0.0, 1 / 255, 2 / 255):  # three methods
        measures = [FID(features), KID(features)]
        for prediction, target in batches:
            for measure in measures:
                measure.update((prediction + shift).clamp(0, 1), target.clone())
    assert features.seen == 15 + 3 * 15


def test_what_is_remembered_is_what_was_seen() -> None:
    features, fresh = TinyFeatures(), TinyFeatures()
    (_, one), (_, other) = images(4, 0), images(4, 1)
    for batch in (one, other, one, torch.cat([one, other]), one[:2], other):
        torch.testing.assert_close(features.of_truth(batch), fresh.of(batch), rtol=0, atol=0)
        torch.testing.assert_close(features.of(batch), fresh.of(batch), rtol=0, atol=0)
    wide = one.reshape(4, 3, 16, 64)  # the same bytes in another shape
    torch.testing.assert_close(features.of_truth(wide), fresh.of(wide))


def test_memory_has_an_end(monkeypatch) -> None:
    monkeypatch.setattr("lit_inpaint.metrics.inception_features._REMEMBERED", 6)
    features = TinyFeatures()
    batches = [images(4, seed)[1] for seed in range(2)]
    for batch in batches * 2:
        features.of_truth(batch)
    assert features.seen == 4 + 4 + 2, "the first is remembered, of the second only half"


def test_many_images_are_looked_at_in_parts() -> None:
    features = TinyFeatures()
    _, truth = images(40, 0)
    torch.testing.assert_close(features.of(truth), torch.cat([features.of(part) for part in truth.split(7)]))
    assert features.of(truth[:0]).shape == (0, 6)


def test_images_are_seen_as_8_bits() -> None:
    features = TinyFeatures()
    _, truth = images(3, 0)
    torch.testing.assert_close(features.of(truth + 0.4 / 255), features.of(truth), rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(TinyFeatures().of(truth), features.of(truth)), "whatever the precision around it"


def test_no_module_and_no_checkpoint_sees_the_network() -> None:
    holder = nn.Module()
    holder.fid, holder.kid = FID(TinyFeatures()), KID(TinyFeatures())
    for measure in (holder.fid, holder.kid):
        measure.update(*images(3, 0))
        assert not list(measure.parameters())
        assert not list(measure.children())
    assert not list(holder.parameters())
    assert not holder.state_dict()
    network = holder.fid.features._network
    holder.train()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_measure_can_be_copied() -> None:
    kid = KID(TinyFeatures(), subsets=3)
    kid.update(*images(8, 0))
    copy = kid.clone()
    kid.update(*images(8, 1))
    assert copy.count == 8
    assert len(pickle.dumps(FID(TinyFeatures()))) > 0


def test_a_truth_that_comes_with_several_holes_is_looked_at_once() -> None:
    features = TinyFeatures()
    _, truth = images(6, 0)
    fourfold = truth.repeat_interleave(4, dim=0)
    found = torch.cat([features.of_truth(batch) for batch in fourfold.split(7)])
    assert features.seen == 6
    torch.testing.assert_close(found, features.of(fourfold))
