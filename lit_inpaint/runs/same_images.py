"""Compare the images of a run with those of its earlier launches, and those of an evaluation with the trained ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lit_inpaint.data import InpaintingData
from lit_inpaint.data.datasets.folder_layouts import abbreviate
from lit_inpaint.data.split_record import Record, SplitName, describe_changes, same_root, trained_on
from lit_inpaint.errors import UserError
from lit_inpaint.runs.checkpoint_file import LoadedCheckpoint

_OTHER_SETTINGS = frozenset(
    (
        *("size", "batch_size", "masks", "val_masks", "train_transform", "val_transform"),
        *("val_crops", "repeat", "workers", "on_bad_file", "cache"),
    )
)
"""Arguments of `InpaintingData` that choose no images."""


def check_same_images(record: Record | None, data: InpaintingData, run_dir: Path) -> None:
    """Check that a run resumes on the images that it was started on; other test images are a warning.

    Args:
        record: from the checkpoint; None in a checkpoint that has none, which is not checked.
        data: of the resumed run.
        run_dir: for messages.

    Raises:
        UserError: the training or validation images are others, or in another order.
    """
    if record is None:
        return
    for split in ("train", "val"):
        if changes := describe_changes(record, data, split):
            raise UserError(
                f"the run in {run_dir} was started on other images: now {'; '.join(changes)}; restore the files, or start "
                "a new run: --resume never, with another --run_dir if that is given"
            )
    for change in describe_changes(record, data, "test"):
        rank_zero_warn(f"the test images are not those of the run's start: now {change}")


def describe_images(
    checkpoints: Mapping[str, LoadedCheckpoint], data: InpaintingData, config: Mapping[str, Any], split: SplitName
) -> list[str]:
    """A line for each checkpoint that was trained on evaluated images, and for each whose split had other images.

    Args:
        checkpoints: by their labels.
        data: the evaluated data, set up.
        config: its section of the configuration.
        split: the evaluated split.
    """
    lines = []
    for label, one in checkpoints.items():
        if one.splits is None:
            continue
        total = len(getattr(data.images(), split))
        if seen := trained_on(one.splits, data, split):
            named = f"{len(seen):,} of the {total:,} {split} images"
            if same_root(one.splits, data):
                lines.append(f"{label} ({one.path}) was trained on {named}: {abbreviate(seen)}")
            else:
                where = (
                    "with the same paths" if one.splits["root"] is None else f"with the same paths below {one.splits['root']}"
                )
                lines.append(f"{label} ({one.path}) was trained on images {where} as {named}: {abbreviate(seen)}")
        if _same_choice(one.config, config):
            changes = describe_changes(one.splits, data, split)
            lines += [
                f"the {split} split is not that of the training of {label} ({one.path}): now {change}" for change in changes
            ]
    return lines


def _same_choice(trained: Mapping[str, Any] | None, evaluated: Mapping[str, Any]) -> bool:
    """Return whether two configurations of data choose the same images, as far as they name them."""
    then = (trained or {}).get("data") or {}
    if then.get("class_path") != evaluated["class_path"]:
        return False
    before, now = then.get("init_args", {}), evaluated["init_args"]
    return all(before.get(key) == now.get(key) for key in (before.keys() | now.keys()) - _OTHER_SETTINGS)
