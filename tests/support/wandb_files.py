"""What W&B has on disk, read back from its own files, since no network is there to ask."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32 * 1024


def records(path: Path) -> Iterator[Record]:
    """The records of a `.wandb` file: a 7-byte header, then LevelDB log blocks of (crc32, length, type, bytes)."""
    data = path.read_bytes()
    place, whole = 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:  # no room for a header: padding
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def history(path: Path) -> list[dict[str, Any]]:
    """One dictionary for each row that was logged; nested keys are joined by `/`."""
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records(path)
        if record.HasField("history")
    ]


def configuration(path: Path) -> dict[str, Any]:
    """All that was written into the run's configuration, the last of each key."""
    found: dict[str, Any] = {}
    for record in records(path):
        changed = record.run.config if record.HasField("run") else record.config
        for item in changed.update:
            found["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return found


def files(folder: Path, kind: str = "offline-run") -> list[Path]:
    """The `.wandb` files of a run folder, in the order of their starts."""
    return sorted((folder / "wandb").glob(f"{kind}-*/run-*.wandb"), key=lambda path: path.stat().st_mtime)
