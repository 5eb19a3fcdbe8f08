"""What a checkpoint must say about the run it comes from."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class ConfigInCheckpoint(Callback):
    """Puts the run's complete configuration, masks included, into every checkpoint.

    Args:
        config: plain data.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The module adds its part to the same entry afterwards."""
        checkpoint["lit_inpaint"] = {**checkpoint.get("lit_inpaint", {}), "config": self.config}
