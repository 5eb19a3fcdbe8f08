"""Record the images of each split, to compare them with those of a resumed run or of an evaluation."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.data.datamodule import InpaintingData
from lit_inpaint.data.datasets.folder_layouts import abbreviate
from lit_inpaint.data.image_source import ImageFiles, ImageSource, hash_names

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")
Record = dict[str, Any]
"""Plain data and tensors, for a checkpoint.

`root`: absolute path of the data set, None without one; `note`: how it was split; `train`, `val` and `test`: for each split

- `images`: their number;
- `sha256`: digest of their list, as the start of a run prints it;
- `sha256_names`: digest of their names, which have no suffixes;
- `paths`: (N,) int64, a hash of each image's path below `root`, without suffix.

`mix`: a list of the same for each folder of `data.mix`.
"""


def record_splits(data: InpaintingData) -> Record:
    """Record the images of each split."""
    root = _root(data)
    record: Record = {"root": root, "note": data.images().note}
    record |= {name: _record(getattr(data.images(), name), root) for name in SPLIT_NAMES}
    return record | {"mix": [_record(images, root) for images in data.mixed_images()]}


def is_record(value: object) -> bool:
    """Return whether plain data, such as of a file, has the form of a record."""

    def is_part(part: object) -> bool:
        return (
            isinstance(part, dict)
            and isinstance(part.get("images"), int)
            and all(isinstance(part.get(name), str) for name in ("sha256", "sha256_names"))
            and isinstance(paths := part.get("paths"), torch.Tensor)
            and paths.dtype == torch.int64
            and paths.ndim == 1
        )

    return (
        isinstance(value, dict)
        and {"root", "note"} <= value.keys()
        and isinstance(value.get("mix"), list)
        and all(map(is_part, (*map(value.get, SPLIT_NAMES), *value["mix"])))
    )


def _record(images: ImageSource, root: str | None) -> dict[str, Any]:
    return {
        "images": len(images),
        "sha256": images.digest(),
        "sha256_names": _names_digest(images),
        "paths": torch.from_numpy(_hash_paths(images, root).view(np.int64)),
    }


def summarize_record(record: Record) -> dict[str, Any]:
    """Return a record without its tensors, for a JSON file."""

    def summarize(value: Any) -> Any:
        if isinstance(value, list):
            return [summarize(item) for item in value]
        return {name: item for name, item in value.items() if name != "paths"} if isinstance(value, dict) else value

    return {key: summarize(value) for key, value in record.items()}


def describe_changes(record: Record, data: InpaintingData, split: SplitName) -> list[str]:
    """Describe how the images of a split differ from the recorded ones; empty if they are the same in the same order.

    Those of `data.mix` belong to the training images. The folder may have moved, and the files may have other suffixes.
    """
    pairs: list[tuple[str, ImageSource, Mapping[str, Any]]] = [(split, getattr(data.images(), split), record[split])]
    if split == "train":
        mixed = data.mixed_images()
        if len(mixed) != len(record["mix"]):
            return [f"{len(mixed)} folders in data.mix instead of {len(record['mix'])}"]
        pairs += [("mixed", *pair) for pair in zip(mixed, record["mix"], strict=True)]
    return list(filter(None, (_describe_change(what, images, recorded, _root(data)) for what, images, recorded in pairs)))


def _describe_change(what: str, images: ImageSource, recorded: Mapping[str, Any], root: str | None) -> str:
    if images.digest() == recorded["sha256"] or _names_digest(images) == recorded["sha256_names"]:
        return ""
    now, before = _hash_paths(images, root).view(np.int64), recorded["paths"].numpy()
    added = np.flatnonzero(~np.isin(now, before))
    removed = int((~np.isin(before, now)).sum())
    counts = f"{len(images):,} {what} images instead of {recorded['images']:,}"
    if not len(added) and not removed:
        return f"{counts}, in another order"
    named = f" ({abbreviate([images.location(int(index)) for index in added])})" if len(added) else ""
    return f"{counts}: {len(added):,} more{named} and {removed:,} fewer"


def trained_on(record: Record, data: InpaintingData, split: SplitName) -> list[str]:
    """Return the locations of the images of a split whose paths are those of recorded training images."""
    images: ImageSource = getattr(data.images(), split)
    hashes = _hash_paths(images, _root(data)).view(np.int64)
    trained = torch.cat([record["train"]["paths"], *(folder["paths"] for folder in record["mix"])]).numpy()
    return [images.location(int(index)) for index in np.flatnonzero(np.isin(hashes, trained))]


def same_root(record: Record, data: InpaintingData) -> bool:
    """Return whether the data lies where the recorded one lay, or is built in as that was."""
    return bool(record["root"] == _root(data))


def _root(data: InpaintingData) -> str | None:
    return None if data.root is None else str(Path(data.root).absolute())


def _names_digest(images: ImageSource) -> str:
    digest = hashlib.sha256()
    for index in range(len(images)):
        digest.update(images.name(index).encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def _hash_paths(images: ImageSource, root: str | None) -> NDArray[np.uint64]:
    """Hash the path of each image below `root`, or its absolute path without one."""
    if isinstance(images, ImageFiles):
        folder = os.path.abspath(images.root)  # noqa: PTH100 (links are kept)
        return hash_names(images, f"{folder if root is None else os.path.relpath(folder, root)}/".removeprefix("./"))
    names = (images.location(index).removeprefix(root or "") for index in range(len(images)))
    digests = (hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), np.uint64)
