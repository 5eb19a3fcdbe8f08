"""Keep the scores of an evaluation in a file while it runs, so that an interrupted one can resume."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import torch
from torch.utils.data import DataLoader

from lit_inpaint import __version__
from lit_inpaint.data.archives import ArchiveImages
from lit_inpaint.data.datasets.stl10 import STL10Binary
from lit_inpaint.data.image_source import ImageFiles, ImageSource
from lit_inpaint.data.inpainting_dataset import EvalDataset
from lit_inpaint.errors import UserError
from lit_inpaint.metrics import DistributionMetric, Protocol
from lit_inpaint.storage.atomic_write import atomic_write
from lit_inpaint.storage.file_lock import lock_file
from lit_inpaint.storage.plain_data import parse_json

_SAVE_INTERVAL = 300.0  # seconds; the states of FID take 67 MB for each method


class SampleScore(NamedTuple):
    """Scores of one method on one sample, in the order of the protocol's metrics, with the sample's name and mask ratio."""

    name: str
    mask_ratio: float
    scores: Sequence[float]


class PartialResults:
    """Scores so far in a file of JSON lines, one for each batch and method; removed when the evaluation is complete.

    States of distribution metrics are in a second file, with the suffix `.pt`. It is written every five minutes.

    Each line has the scores from a sample number on, null where the sample was left out. It carries the key of its method and
    is read back only under the same key. So another checkpoint, other samples or another protocol never reuse it. A line that
    was cut off is ignored, and its batch is repeated. The file is locked: a second evaluation cannot write it at the same time.

    Args:
        path: the file; need not exist.
        keys: of the methods, from `evaluation_key`.
        num_scores: number of scores of each sample; lines with another number are ignored. None: any number.

    Raises:
        UserError: the file cannot be written, or another evaluation is writing it.
    """

    def __init__(self, path: Path, keys: Mapping[str, str], num_scores: int | None = None) -> None:
        self.path = path
        self.states_path = path.with_suffix(".pt")
        self._saved_at = time.monotonic()
        self._num_scores = num_scores
        self._keys = dict(keys)
        self._samples: dict[str, dict[int, SampleScore | None]] = {method: {} for method in keys}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            _lock(self._file, path)
            self._file.truncate(self._read())  # the next line must not be appended to a broken one
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror or error}); name another --output") from error

    def count(self) -> int:
        """Number of samples, from the first on, that all methods have scores for, or that were left out for all of them."""
        count = 0
        while self._samples and all(count in samples for samples in self._samples.values()):
            if len({samples[count] is None for samples in self._samples.values()}) > 1:
                break
            count += 1
        return count

    def has(self, method: str, numbers: Iterable[int]) -> bool:
        """Whether `method` has scores for all of these samples."""
        return all(self._samples[method].get(number) is not None for number in numbers)

    def samples(self, method: str, numbers: Iterable[int]) -> list[SampleScore]:
        """Scores of `method` on these samples, without those that were left out."""
        return [score for number in numbers if (score := self._samples[method][number]) is not None]

    def left_out(self, count: int) -> list[int]:
        """Numbers of the samples among the first `count` that were left out."""
        first = next(iter(self._samples.values()), {})
        return [number for number in range(count) if first[number] is None]

    def add(self, method: str, first: int, numbers: Sequence[int], samples: Sequence[SampleScore]) -> None:
        """Append the scores of `method` on the samples `numbers`; those between them from `first` on were left out.

        Raises:
            UserError: the disk is full.
        """
        scores: dict[int, SampleScore | None] = dict.fromkeys(range(first, numbers[-1] + 1))
        scores |= zip(numbers, samples, strict=True)
        self._samples[method] |= scores
        line = {"key": self._keys[method], "first": first, "samples": list(scores.values())}
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"cannot write {self.path} ({error.strerror or error}); free some space, then repeat") from error

    def restore_metrics(self, metrics: Mapping[str, Sequence[DistributionMetric]]) -> int:
        """Restore the saved states of empty metrics, all or none.

        Args:
            metrics: of each method.

        Returns:
            Number of samples, from the first on, that the states and the scores of all methods include.
        """
        try:
            saved = torch.load(self.states_path, map_location="cpu", weights_only=True)
            if saved["keys"] != self._metric_keys(metrics) or saved["count"] > self.count():
                return 0
            states = {name: list(zip(found, saved["states"][name], strict=True)) for name, found in metrics.items()}
            for metric, state in (pair for pairs in states.values() for pair in pairs):
                metric.restore(state)
            return int(saved["count"])
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError):
            for metric in (one for found in metrics.values() for one in found):
                metric.reset()
            return 0

    def save_metrics(self, metrics: Mapping[str, Sequence[DistributionMetric]], count: int) -> None:
        """Save the states of the metrics if the last time is long enough ago.

        Args:
            metrics: of each method.
            count: number of samples, from the first on, that they include.

        Raises:
            UserError: the disk is full.
        """
        if time.monotonic() < self._saved_at + _SAVE_INTERVAL:
            return
        states = {name: [metric.metric_state for metric in found] for name, found in metrics.items()}
        try:
            with atomic_write(self.states_path) as part:
                torch.save({"keys": self._metric_keys(metrics), "count": count, "states": states}, part)
        except (OSError, RuntimeError) as error:  # PyTorch's writer reports a full disk as a RuntimeError
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise UserError(f"cannot write {self.states_path} ({reason}); free some space, then repeat") from error
        self._saved_at = time.monotonic()

    def finish(self) -> None:
        """Remove the files of a complete evaluation."""
        self.states_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)  # while locked: after the unlock, another evaluation may have begun to write it
        self._file.close()

    def _metric_keys(self, metrics: Mapping[str, Sequence[DistributionMetric]]) -> dict[str, list[str]]:
        return {name: [self._keys[name], *(metric.identity for metric in found)] for name, found in metrics.items()}

    def _read(self) -> int:
        """Read the lines with known keys; returns the number of bytes in complete lines."""
        methods = {key: method for method, key in self._keys.items()}
        complete = 0
        self._file.seek(0)  # opening and closing the file a second time would release the lock
        for line in self._file.read().splitlines(keepends=True):
            try:
                entry: dict[str, Any] = parse_json(line)
                samples = [None if sample is None else _sample_score(*sample) for sample in entry["samples"]]
                key, first = str(entry["key"]), int(entry["first"])
            except (ValueError, TypeError, KeyError, OverflowError):
                break
            if not line.endswith(b"\n") or first < 0:
                break
            if self._num_scores is not None and any(one and len(one.scores) != self._num_scores for one in samples):
                break
            complete += len(line)
            if key in methods:
                self._samples[methods[key]] |= dict(enumerate(samples, start=first))
        return complete


def _sample_score(name: object, mask_ratio: object, scores: object) -> SampleScore:
    if not isinstance(scores, list):
        raise TypeError(f"scores are {scores!r}")
    return SampleScore(str(name), float(cast(Any, mask_ratio)), [float(score) for score in scores])


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        lock_file(file)
    except BlockingIOError as error:
        file.close()
        raise UserError(f"{path} is being written by another evaluation; wait for it, or name another --output") from error
    except OSError:
        pass  # a file system without locks


def open_partial_results(
    path: Path, methods: Mapping[str, Path | str], protocol: Protocol, manifest: str, loader: DataLoader[Any]
) -> PartialResults:
    """Open the partial results of an evaluation.

    Args:
        path: the file.
        methods: what identifies each method, by name; see `evaluation_key`.
        protocol: with added metrics.
        manifest: digest of the list of samples.
        loader: of an `EvalDataset`.
    """
    images = fingerprint_images(cast(EvalDataset, loader.dataset).store.source)
    keys = {name: evaluation_key(method, protocol, manifest, images) for name, method in methods.items()}
    return PartialResults(path, keys, len(protocol.metrics))


def fingerprint_images(source: ImageSource) -> str:
    """Hash of the absolute paths, sizes and modification times of an image source's files."""
    files: Iterable[Path | str]
    if isinstance(source, ArchiveImages):
        files = [source.root]
    elif isinstance(source, STL10Binary):
        files = [source.path]
    elif isinstance(source, ImageFiles):
        files = source
    else:
        files = map(source.location, range(len(source)))
    digest = hashlib.sha256()
    for file in files:
        line: list[object] = [os.path.abspath(file)]  # noqa: PTH100 (many paths)
        with suppress(OSError):  # a file without a readable state is identified by its path alone
            state = os.stat(file)  # noqa: PTH116
            line += [state.st_size, state.st_mtime_ns]
        digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()


def evaluation_key(method: Path | str, protocol: Protocol, manifest: str, images: str) -> str:
    """Hash of a method, the samples and the metrics: scores with the same key are interchangeable.

    Args:
        method: a checkpoint's file, whose bytes are hashed, or a text that identifies a method without one.
        protocol: with added metrics.
        manifest: digest of the list of samples, which contains only the names of images.
        images: from `fingerprint_images`.
    """
    digest = hashlib.sha256()
    if isinstance(method, Path):
        with method.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    else:
        digest.update(method.encode())
    settings = [__version__, protocol.name, [(metric.name, metric.version) for metric in protocol.metrics], manifest, images]
    digest.update(json.dumps(settings).encode())
    return digest.hexdigest()
