"""Recognize the folders of a split by their names: `train`, `valid`, `Testing`, …."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lit_inpaint.errors import UserError

NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Accepted names of the folder of each split, in upper or lower case."""
_SIMILAR = re.compile(
    r"(?:(?P<train>train|training|trn)|(?P<val>val|valid|validate|validation|dev|eval|evaluation)|(?P<test>test|testing|tst))"
    r"[ _.-]*(?:set|split|data|images?|imgs?|\d+)?",
    re.IGNORECASE,
)
"""Names that people give to the folders of splits, accepted or not."""


def find_split_folders(names: Iterable[str], where: str) -> dict[str, str]:
    """Find the folders of the splits among the folders in one place.

    Args:
        names: of all folders in that place.
        where: that place, for messages.

    Returns:
        The name of the folder of each split that has one; the keys are `train`, `val` and `test`.

    Raises:
        UserError: a split has two folders, or one has a name that is similar to the accepted ones beside another split's.
    """
    found: dict[str, list[str]] = {}
    similar: dict[str, list[str]] = {}
    for name in sorted(names):
        for split, accepted in NAMES.items():
            if name.lower() in accepted:
                found.setdefault(split, []).append(name)
        if match := _SIMILAR.fullmatch(name):
            similar.setdefault(str(match.lastgroup), []).append(name)
    for split, folders in found.items():
        if len(folders) > 1:
            both = " and ".join(f"{name}/" for name in folders)
            raise UserError(f"{where} has {both}, both named for {split}; keep one")
    unclear = [name for split, folders in similar.items() for name in folders if name not in found.get(split, ())]
    if unclear and len(similar) > 1:
        raise UserError(
            f"{where} has {', '.join(f'{name}/' for name in unclear)} beside other folders of splits; rename what is a split "
            "to train/, val/ or test/, or name one folder of images: --data.root DIR"
        )
    return {split: folders[0] for split, folders in found.items()}


def split_folders(root: Path) -> dict[str, Path]:
    """Find the folders of the splits in `root`, see `find_split_folders`."""
    folders = [path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return {split: root / name for split, name in find_split_folders(folders, str(root)).items()}


def refuse_nested_splits(names: Iterable[str], root: Path) -> None:
    """Check that the images are in no folders of splits deeper down, of which a random split would train on the test images.

    Args:
        names: paths of all images relative to `root`.
        root: for messages.

    Raises:
        UserError: a folder below `root` has folders of two splits.
    """
    parents = {name.rpartition("/")[0] for name in names}
    folders: dict[str, set[str]] = {}
    for parent in parents:
        parts = parent.split("/")
        for depth in range(1, len(parts)):
            folders.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    for place, inside in sorted(folders.items()):
        found = find_split_folders(inside, f"{root}/{place}")
        if len(found) > 1:
            listed = " and ".join(f"{name}/" for name in found.values())
            unpacked = "unpack it, then " if root.is_file() else ""
            raise UserError(
                f"{root}/{place} has {listed}, but a split's folders must be at the top; {unpacked}name the folder that has "
                f"them: --data.root {'DIR' if unpacked else f'{root}/{place}'}"
            )
