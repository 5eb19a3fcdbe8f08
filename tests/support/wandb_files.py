"""Read W&B's files on disk."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32 * 1024


def records(path: Path) -> Iterator[Record]:
    """Read the records of a `.wandb` file: a 7-byte header, then LevelDB log blocks of (crc32, length, type, bytes)."""
    data = path.read_bytes()
    offset, data_of_record = 7, b""
    while offset + 7 <= len(data):
        if BLOCK - offset % BLOCK < 7:  # padding: no space for a header
            offset += BLOCK - offset % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        data_of_record += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            record = Record()
            record.ParseFromString(data_of_record)
            yield record
            data_of_record = b""


def history(path: Path) -> list[dict[str, Any]]:
    """Return one dictionary per logged row; nested keys are joined by `/`."""
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records(path)
        if record.HasField("history")
    ]


def configuration(path: Path) -> dict[str, Any]:
    """Return the run's configuration: the last value of each key."""
    found: dict[str, Any] = {}
    for record in records(path):
        changed = record.run.config if record.HasField("run") else record.config
        for item in changed.update:
            found["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return found


def files(folder: Path, kind: str = "offline-run") -> list[Path]:
    """Return the `.wandb` files of a run directory, in the order of their starts."""
    return sorted((folder / "wandb").glob(f"{kind}-*/run-*.wandb"), key=lambda path: path.stat().st_mtime)
