import math
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from lit_inpaint.evaluation import Method, evaluate
from lit_inpaint.metrics import FID, LPI, Scores, find_protocol
from lit_inpaint.types import UserError
from lit_inpaint.unfinished import Sample, Unfinished, key_of

CPU = torch.device("cpu")
KEYS = {"grey": "key of grey", "copy": "key of copy"}


def loader() -> DataLoader[object]:
    """Seven samples in batches of two."""
    rng = torch.Generator().manual_seed(0)
    images, masks = torch.rand(7, 3, 16, 16, generator=rng), torch.rand(7, 1, 16, 16, generator=rng).lt(0.3).float()
    return DataLoader([{"image": images[i], "mask": masks[i], "name": f"{i}.png"} for i in range(7)], 2)


def methods(calls: list[int], fail_at: int | None = None) -> dict[str, Method]:
    """Two methods; the second counts its calls and is interrupted at one of them."""

    def copy(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        calls.append(len(image))
        if len(calls) == fail_at:
            raise KeyboardInterrupt
        return (image + 0.1).clamp(0, 1)

    return {"grey": lambda image, mask: torch.full_like(image, 0.5), "copy": copy}


def assert_same(one: Scores, other: Scores) -> None:
    assert list(one.names) == list(other.names)
    assert torch.equal(one.shares, other.shares)
    for name in one.values:
        assert torch.equal(one.values[name], other.values[name])


def test_an_interrupted_evaluation_goes_on(tmp_path: Path) -> None:
    path, calls = tmp_path / "scores.unfinished.jsonl", list[int]()
    whole = evaluate(methods([]), loader(), LPI, CPU)
    with pytest.raises(KeyboardInterrupt):
        evaluate(methods(calls, fail_at=3), loader(), LPI, CPU, unfinished=Unfinished(path, KEYS))
    with path.open("a") as file:
        file.write('{"key": "key of copy", "first": 4, "sam')  # cut off while it was written
    calls.clear()
    again = Unfinished(path, KEYS)
    assert again.count() == 4
    assert again.has("grey", 4, 2)
    assert not again.has("copy", 4, 2)
    assert_same(evaluate(methods(calls), loader(), LPI, CPU, unfinished=again), whole)
    assert calls == [2, 1]
    again = Unfinished(path, KEYS)
    assert again.count() == 7  # and the broken end was overwritten, not written behind
    assert_same(evaluate(methods(calls), loader(), LPI, CPU, unfinished=again), whole)
    assert calls == [2, 1]
    again.finish()
    assert not path.exists()


def test_other_keys_take_nothing_over(tmp_path: Path) -> None:
    path = tmp_path / "scores.unfinished.jsonl"
    first = Unfinished(path, {"grey": "one"})
    first.add("grey", 0, [Sample("a", 0.5, [math.inf, math.nan, 1 / 3])])
    assert Unfinished(path, {"grey": "another"}).count() == 0
    assert Unfinished(path, {"renamed": "one", "new": "two"}).count() == 0
    kept = Unfinished(path, {"renamed": "one"})
    assert kept.count() == 1
    name, share, scores = kept.sample("renamed", 0)
    assert (name, share, scores[0], scores[2]) == ("a", 0.5, math.inf, 1 / 3)
    assert math.isnan(scores[1])


def test_what_the_key_depends_on(tmp_path: Path) -> None:
    checkpoint, other = tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    checkpoint.write_bytes(b"weights")
    other.write_bytes(b"weights")
    key = key_of(checkpoint, LPI, "manifest")
    assert key_of(other, LPI, "manifest") == key  # what is in the file counts, not where it lies
    other.write_bytes(b"other weights")
    others = [key_of(other, LPI, "manifest"), key_of(checkpoint, find_protocol("pepsi"), "manifest")]
    others += [key_of(checkpoint, LPI, "other manifest"), key_of("Mean fill", LPI, "manifest")]
    assert len({key, *others}) == 5


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        Unfinished(tmp_path / "file" / "scores.jsonl", KEYS)


def test_measures_of_sets_cannot_be_continued(tmp_path: Path) -> None:
    unfinished = Unfinished(tmp_path / "scores.jsonl", KEYS)
    with pytest.raises(ValueError, match="cannot be continued"):
        evaluate(methods([]), loader(), LPI, CPU, lambda: (FID(),), unfinished)
