"""Weights & Biases: one run for one run folder; offline by itself where there is no key."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import WandbLogger


@dataclass(frozen=True)
class Wandb:
    """How a run appears on the dashboards of Weights & Biases.

    Attributes:
        mode: "auto" goes online where a key is known and offline elsewhere; "disabled" writes nothing.
        project: W&B project.
        group: groups runs, None for none.
        tags: labels.
        notes: free text.
    """

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "lit_inpaint"
    group: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None

    def logger(self, run_dir: Path, name: str, config: dict[str, Any]) -> WandbLogger | None:
        """The logger for a run folder: the id is the one kept in the folder, so a resumed run goes on in the same W&B run.

        Args:
            run_dir: the run folder; W&B's own files go below it.
            name: shown on the dashboard.
            config: the complete configuration, as plain data.
        """
        if self._resolved() == "disabled":
            return None
        os.environ.setdefault("WANDB_SILENT", "true")  # its banners would break the progress bar
        id_file = run_dir / "wandb" / "run_id.txt"
        id_file.parent.mkdir(parents=True, exist_ok=True)
        if not id_file.exists():
            id_file.write_text(secrets.token_hex(4) + "\n")
        return WandbLogger(
            name=name,
            save_dir=run_dir,
            id=id_file.read_text().strip(),
            resume="allow",
            project=self.project,
            group=self.group,
            tags=list(self.tags),
            notes=self.notes,
            offline=self._resolved() == "offline",
            config=config,
        )

    def _resolved(self) -> str:
        wanted = os.environ.get("WANDB_MODE", self.mode if self.mode != "auto" else "")
        if wanted:
            return wanted
        return "online" if _key_known() else "offline"


def _key_known() -> bool:
    """Whether W&B would find a key without asking: in the environment or in its netrc entry."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    from netrc import NetrcParseError, netrc
    from urllib.parse import urlparse

    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or "api.wandb.ai"
    file = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return netrc(file).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
