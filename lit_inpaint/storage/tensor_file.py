"""Files of tensors."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import torch


def write_tensors(content: dict[str, Any], path: Path) -> None:
    """Write a file that `torch.load` reads.

    Raises:
        OSError: the file system refuses; `torch.save` on a path would raise a `RuntimeError` without the reason.
    """
    file = BytesIO()
    torch.save(content, file)
    path.write_bytes(file.getbuffer())
