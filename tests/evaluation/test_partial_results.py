import math
import multiprocessing
import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import cast
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_features import TinyFeatures
from torch.utils.data import DataLoader

from lit_inpaint.data import ResizedCenterCrop
from lit_inpaint.data.archives import list_archive
from lit_inpaint.data.datamodule import FloatDataLoader
from lit_inpaint.data.datasets.stl10 import STL10Binary
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.inpainting_dataset import EvalDataset, collate
from lit_inpaint.data.manifest import Manifest
from lit_inpaint.data.unreadable_images import ImageStore
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.evaluator import Method, evaluate
from lit_inpaint.evaluation.partial_results import PartialResults, SampleScore, evaluation_key, fingerprint_images
from lit_inpaint.masks import Center
from lit_inpaint.metrics import FID, KID, LPI, DistributionMetric, EvaluationResult, find_protocol

CPU = torch.device("cpu")
KEYS = {"gray": "key of gray", "copy": "key of copy"}


def loader() -> DataLoader[object]:
    """Seven samples in batches of two."""
    rng = torch.Generator().manual_seed(0)
    images, masks = torch.rand(7, 3, 16, 16, generator=rng), torch.rand(7, 1, 16, 16, generator=rng).lt(0.3).float()
    return DataLoader([{"image": images[i], "mask": masks[i], "name": f"{i}.png"} for i in range(7)], 2)


def methods(calls: list[int], fail_at: int | None = None) -> dict[str, Method]:
    """Two methods; the second records its calls, and is interrupted at call `fail_at`."""

    def copy(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        calls.append(len(image))
        if len(calls) == fail_at:
            raise KeyboardInterrupt
        return (image + 0.1).clamp(0, 1)

    return {"gray": lambda image, mask: torch.full_like(image, 0.5), "copy": copy}


def assert_same(one: EvaluationResult, other: EvaluationResult) -> None:
    assert list(one.sample_names) == list(other.sample_names)
    assert torch.equal(one.mask_ratios, other.mask_ratios)
    for name in one.scores:
        assert torch.equal(one.scores[name], other.scores[name])


def test_an_interrupted_evaluation_resumes(tmp_path: Path) -> None:
    path, calls = tmp_path / "scores.partial.jsonl", list[int]()
    whole = evaluate(methods([]), loader(), LPI, CPU)
    with pytest.raises(KeyboardInterrupt):
        evaluate(methods(calls, fail_at=3), loader(), LPI, CPU, partial=PartialResults(path, KEYS))
    with path.open("a") as file:
        file.write('{"key": "key of copy", "first": 4, "sam')  # cut off during the write
    calls.clear()
    again = PartialResults(path, KEYS)
    assert again.count() == 4
    assert again.has("gray", (4, 5))
    assert not again.has("copy", (4, 5))
    assert_same(evaluate(methods(calls), loader(), LPI, CPU, partial=again), whole)
    assert calls == [2, 1]
    again = PartialResults(path, KEYS)
    assert again.count() == 7  # the broken line was overwritten, not kept
    assert_same(evaluate(methods(calls), loader(), LPI, CPU, partial=again), whole)
    assert calls == [2, 1]
    again.finish()
    assert not path.exists()


def files_loader(root: Path) -> DataLoader[object]:
    """Six image files in batches of two; a file that cannot be read is detected when it is read."""
    for i in range(6):
        if not (root / f"{i}.png").exists():
            Image.new("RGB", (16, 16), (40 * i, 99, 10)).save(root / f"{i}.png")
    with mock.patch("lit_inpaint.data.unreadable_images.MAX_VERIFIED_FILES", 0):
        store = ImageStore(ImageFiles.from_names(root, [f"{i}.png" for i in range(6)]), "skip", cache=False)
    return FloatDataLoader(EvalDataset(store, 16, ResizedCenterCrop(), [Center()], 0), 2, collate_fn=collate)


@pytest.mark.filterwarnings("ignore:cannot read")
@pytest.mark.parametrize("broken", [[], [0], [1], [2], [0, 1, 4], [5], [2, 3, 4, 5]])
@pytest.mark.parametrize("fail_at", [1, 2])
def test_samples_that_are_left_out_stay_so_when_an_evaluation_resumes(broken: list[int], fail_at: int, tmp_path: Path) -> None:
    for number in broken:
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    readable = [str(number) for number in range(6) if number not in broken]
    complete = files_loader(tmp_path)
    whole = evaluate(methods([]), complete, LPI, CPU)
    with suppress(KeyboardInterrupt):
        path = tmp_path / "scores.partial.jsonl"
        evaluate(methods([], fail_at), files_loader(tmp_path), LPI, CPU, partial=PartialResults(path, KEYS))
    resumed = files_loader(tmp_path)
    again = evaluate(methods([]), resumed, LPI, CPU, partial=PartialResults(path, KEYS))
    assert_same(again, whole)
    assert list(again.sample_names) == readable
    assert {row["n"] for row in again.rows() if row["bucket"] == "all"} == {len(readable)}
    manifests = [Manifest(cast(EvalDataset, loader.dataset)) for loader in (complete, resumed)]
    assert manifests[0].text == manifests[1].text
    assert manifests[0].unreadable() == [str(number) for number in broken]


@pytest.mark.filterwarnings("ignore:cannot read")
def test_a_method_that_is_behind_scores_the_same_samples(tmp_path: Path) -> None:
    """The second method is interrupted at the first batch; the file of sample 1 is broken for a while."""
    whole = evaluate(methods([]), files_loader(tmp_path), LPI, CPU)
    content = (tmp_path / "1.png").read_bytes()
    for first, then in ((b"no image", content), (content, b"no image")):
        (tmp_path / "1.png").write_bytes(first)
        path = tmp_path / f"{len(first)}.partial.jsonl"
        with pytest.raises(KeyboardInterrupt):
            evaluate(methods([], 1), files_loader(tmp_path), LPI, CPU, partial=PartialResults(path, KEYS))
        (tmp_path / "1.png").write_bytes(then)
        result = evaluate(methods([]), files_loader(tmp_path), LPI, CPU, partial=PartialResults(path, KEYS))
        kept = [0, *range(1 if then == content else 2, 6)]
        for name in KEYS:
            assert torch.equal(result.scores[name], whole.scores[name][kept])


@pytest.mark.filterwarnings("ignore:cannot read")
def test_without_a_readable_image_there_is_no_table(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"none of the images can be read, from .*prepare"):
        evaluate(methods([]), files_loader(tmp_path), LPI, CPU)


def test_other_keys_reuse_nothing(tmp_path: Path) -> None:
    path = tmp_path / "scores.partial.jsonl"
    first = PartialResults(path, {"gray": "one"})
    first.add("gray", 0, [0], [SampleScore("a", 0.5, [math.inf, math.nan, 1 / 3])])
    assert PartialResults(path, {"gray": "another"}).count() == 0
    assert PartialResults(path, {"renamed": "one", "new": "two"}).count() == 0
    kept = PartialResults(path, {"renamed": "one"})
    assert kept.count() == 1
    name, mask_ratio, scores = kept.samples("renamed", [0])[0]
    assert (name, mask_ratio, scores[0], scores[2]) == ("a", 0.5, math.inf, 1 / 3)
    assert math.isnan(scores[1])


def test_the_key_depends_on_checkpoint_protocol_and_samples(tmp_path: Path) -> None:
    checkpoint, other = tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    checkpoint.write_bytes(b"weights")
    other.write_bytes(b"weights")
    key = evaluation_key(checkpoint, LPI, "manifest", "images")
    assert evaluation_key(other, LPI, "manifest", "images") == key  # depends on the content of the file, not its path
    other.write_bytes(b"other weights")
    others = [
        evaluation_key(other, LPI, "manifest", "images"),
        evaluation_key(checkpoint, find_protocol("pepsi"), "manifest", "images"),
    ]
    others += [
        evaluation_key(checkpoint, LPI, "other manifest", "images"),
        evaluation_key("Mean fill", LPI, "manifest", "images"),
    ]
    others.append(evaluation_key(checkpoint, LPI, "manifest", "other images"))
    assert len({key, *others}) == 6


def test_images_of_the_same_names_are_distinguished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        for name in ("a.png", "b.png"):
            (tmp_path / folder / name).write_bytes(b"image")
            os.utime(tmp_path / folder / name, (1e9, 1e9))
    here = fingerprint_images(ImageFiles.from_names(tmp_path / "one", ["a.png", "b.png"]))
    assert fingerprint_images(ImageFiles.from_names(tmp_path / "other", ["a.png", "b.png"])) != here
    monkeypatch.chdir(tmp_path)
    assert fingerprint_images(ImageFiles.from_names(Path("one"), ["a.png", "b.png"])) == here
    state = (tmp_path / "one" / "b.png").stat()
    (tmp_path / "one" / "b.png").write_bytes(b"other")
    os.utime("one/b.png", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    later = fingerprint_images(ImageFiles.from_names(Path("one"), ["a.png", "b.png"]))
    (tmp_path / "one" / "b.png").write_bytes(b"a larger image")
    os.utime("one/b.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert len({here, later, fingerprint_images(ImageFiles.from_names(Path("one"), ["a.png", "b.png"]))}) == 3


def test_images_in_one_file_are_identified_by_it(tmp_path: Path) -> None:
    archive = tmp_path / "images.zip"
    fingerprints = set()
    for content in (b"image", b"another image"):
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("a.png", content)
        fingerprints.add(fingerprint_images(list_archive(archive)))
        fingerprints.add(fingerprint_images(STL10Binary(archive, np.arange(2))))
    assert len(fingerprints) == 2


def attempt(path: Path) -> str:
    """Message of another evaluation."""
    try:
        return f"resumes after {PartialResults(path, {'gray': KEYS['gray']}).count()}"
    except UserError as error:
        return str(error)


def test_a_second_evaluation_at_the_same_time_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "scores.partial.jsonl"
    first = PartialResults(path, KEYS)
    first.add("gray", 0, [0], [SampleScore("a", 0.5, [1.0])])
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as other:
        message = other.submit(attempt, path).result()
        assert message == f"{path} is being written by another evaluation; wait for it, or name another --output"
        assert len(path.read_text().splitlines()) == 1
        first._file.close()  # as after a crash
        assert other.submit(attempt, path).result() == "resumes after 1"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        PartialResults(tmp_path / "file" / "scores.jsonl", KEYS)


def distribution(features: TinyFeatures) -> Callable[[], tuple[DistributionMetric, ...]]:
    return lambda: (FID(features), KID(features, subsets=2, subset_size=4))


def only_fid(features: TinyFeatures) -> Callable[[], tuple[DistributionMetric, ...]]:
    return lambda: (FID(features),)


def interrupt(path: Path, features: TinyFeatures) -> None:
    """Interrupt an evaluation with FID and KID in its third batch; states are saved after each batch."""
    partial = PartialResults(path, KEYS)
    with mock.patch("lit_inpaint.evaluation.partial_results._SAVE_INTERVAL", 0.0), pytest.raises(KeyboardInterrupt):
        evaluate(methods([], fail_at=3), loader(), LPI, CPU, distribution(features), partial)


@pytest.mark.filterwarnings("ignore:kid_7")
def test_an_evaluation_with_distribution_metrics_resumes(tmp_path: Path) -> None:
    whole = evaluate(methods([]), loader(), LPI, CPU, distribution(TinyFeatures()))
    interrupt(tmp_path / "scores.jsonl", TinyFeatures())
    calls, features, partial = list[int](), TinyFeatures(), PartialResults(tmp_path / "scores.jsonl", KEYS)
    again = evaluate(methods(calls), loader(), LPI, CPU, distribution(features), partial)
    assert calls == [2, 1]
    assert features.num_processed == 9  # completions of two methods and targets, 3 samples
    assert_same(again, whole)
    assert again.distribution_scores == whole.distribution_scores
    partial.finish()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change", ["broken file", "no file", "fewer scores", "another network", "another method", "one metric"]
)
def test_states_of_other_evaluations_are_not_used(change: str, tmp_path: Path) -> None:
    path, features, keys, metrics = tmp_path / "scores.jsonl", TinyFeatures(), dict(KEYS), distribution
    interrupt(path, TinyFeatures())
    states = tmp_path / "scores.pt"
    if change == "broken file":
        states.write_bytes(states.read_bytes()[:-100])
    elif change == "no file":
        states.unlink()
    elif change == "fewer scores":
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    elif change == "another network":
        features.description = "another network"
    elif change == "another method":
        keys["copy"] = "another key"
    else:
        metrics = only_fid
    whole = evaluate(methods([]), loader(), LPI, CPU, metrics(features))
    calls = list[int]()
    again = evaluate(methods(calls), loader(), LPI, CPU, metrics(features), PartialResults(path, keys))
    assert sum(calls) == 7, "it starts over"
    assert_same(again, whole)
    assert again.distribution_scores == whole.distribution_scores


def test_a_full_disk_when_states_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_inpaint.evaluation.partial_results._SAVE_INTERVAL", 0.0)
    monkeypatch.setattr(torch, "save", mock.Mock(side_effect=RuntimeError("unexpected pos 64 vs 0\nmore")))
    with pytest.raises(UserError, match=r"scores.pt \(unexpected pos 64 vs 0\); free some space"):
        evaluate(methods([]), loader(), LPI, CPU, distribution(TinyFeatures()), PartialResults(tmp_path / "scores.jsonl", KEYS))


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"key": "k", "first": Infinity, "samples": []}',
        b'{"key": "k", "first": -3, "samples": [null]}',
        b'{"key": ["k"], "first": 1, "samples": [["b", 0.1, 3]]}',
        b'{"key": "k", "first": 1, "samples": [["b", "x", [1.0]]]}',
        b'{"key": "k", "first": 1, "samples": [["b", 0.1, [1.0, 2.0]]]}',
        b'{"key": "k", "first": 1, "samples": [["b", 0.1, ["x"]]]}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_line_and_those_after_it_are_ignored(damaged: bytes, tmp_path: Path) -> None:
    good = b'{"key": "k", "first": 0, "samples": [["a", 0.1, [1.0]]]}\n'
    (tmp_path / "partial").write_bytes(good + damaged + b"\n" + good)
    partial = PartialResults(tmp_path / "partial", {"gray": "k"}, num_scores=1)
    assert partial.count() == 1
    assert partial.samples("gray", range(1)) == [SampleScore("a", 0.1, [1.0])]
    assert (tmp_path / "partial").read_bytes() == good
