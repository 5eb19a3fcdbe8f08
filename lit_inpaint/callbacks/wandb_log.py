"""Weights & Biases: one run for one run folder; offline by itself where there is no key."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import WandbLogger

from lit_inpaint.types import UserError


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

        Raises:
            UserError: online is asked for, and W&B would have to ask for a key.
        """
        mode = self._resolved()
        if mode == "disabled":
            return None
        if mode == "online" and not _key_known():
            raise UserError(
                "wandb.mode is online, but no W&B key is known here; run `wandb login`, or say --wandb.mode offline"
            )
        os.environ.setdefault("WANDB_SILENT", "true")  # its banners would break the progress bar
        id_file = run_dir / "wandb" / "run_id.txt"
        id_file.parent.mkdir(parents=True, exist_ok=True)
        if not id_file.exists():
            id_file.write_text(secrets.token_hex(4) + "\n")
        logger = WandbLogger(
            name=name,
            save_dir=run_dir,
            id=id_file.read_text().strip(),
            resume="allow",
            project=self.project,
            group=self.group,
            tags=list(self.tags),
            notes=self.notes,
            mode=mode,
            config=config,
        )
        del logger._wandb_init["anonymous"]  # Lightning 2.6 always passes it, and W&B warns that it has no effect
        return logger

    def _resolved(self) -> str:
        """What is said here, else in W&B's own environment variable, else what there is a key for."""
        wanted = self.mode if self.mode != "auto" else os.environ.get("WANDB_MODE", "")
        wanted = {"dryrun": "offline", "run": "online"}.get(wanted, wanted)
        return wanted or ("online" if _key_known() else "offline")


def finish(logger: WandbLogger | None, failed: bool) -> None:
    """End the W&B run of `logger`, if it came to one, so that its process ends and the next run of this one is another."""
    if logger is not None and logger._experiment is not None:
        logger.experiment.finish(exit_code=int(failed))


def _key_known() -> bool:
    """Whether W&B would find a key without asking: in the environment or in its netrc entry."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    from netrc import NetrcParseError, netrc
    from urllib.parse import urlparse

    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or "api.wandb.ai"
    file = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return netrc(file).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
