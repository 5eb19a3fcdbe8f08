"""Weights & Biases logger: one W&B run per run directory; offline where no API key is found.

The code depends on three properties of W&B 0.31:

- W&B numbers rows by its own `_step`, one more for each call. Every row, images included, also holds `trainer/global_step`, and
  `define_metric` makes that the axis of every chart. So W&B drops no row as late. Rows that a resumed run logs again after a
  kill stand beside the earlier ones.
- Each start of an offline run writes its own folder; all of them hold the same run id. `wandb sync` uploads them in the order
  of their starts and continues the numbering of rows.
- An online run also writes its rows to a `.wandb` file on disk, as an offline run does.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from lightning.fabric.loggers.logger import _DummyExperiment, rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from lit_inpaint.errors import UserError

STEP = "trainer/global_step"
"""Axis of every chart: number of trained batches."""
_MAX_TAG, _MAX_PROJECT, _NOT_IN_PROJECT = 64, 128, "/\\#?%:"


@dataclass(frozen=True)
class Wandb:
    """Settings of Weights & Biases.

    Attributes:
        mode: "auto" logs online where an API key is found, offline elsewhere; "disabled" writes nothing.
        project: W&B project.
        entity: user or team that owns the project, None for the API key's default.
        group: W&B group of the run, None for none.
        tags: labels.
        notes: free text.
        log_best: log the best checkpoint as an artifact when training ends or stops, with its step and "best" as aliases.
        watch: log histograms of gradients, or of gradients and weights, every `trainer.log_every_n_steps` batches.
        init_timeout: seconds to wait for the server at the start; without an answer the run is logged offline.
        finish_timeout: seconds to wait for uploads at the end; the rest stays on disk for `wandb sync`.
    """

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "lit_inpaint"
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None
    log_best: bool = False
    watch: Literal["off", "gradients", "all"] = "off"
    init_timeout: float = 30.0
    finish_timeout: float = 60.0

    def __post_init__(self) -> None:
        for name in ("init_timeout", "finish_timeout"):
            if getattr(self, name) <= 0:
                raise UserError(f"wandb.{name} is {getattr(self, name)}; give a number of seconds above 0")
        # The rules of W&B, which would refuse to start the run.
        for tag in self.tags:
            if not 1 <= len(tag) <= _MAX_TAG:
                raise UserError(f"wandb.tags: {tag!r} has {len(tag)} characters; W&B takes tags of 1 to {_MAX_TAG}")
        if len(self.project) > _MAX_PROJECT or not set(self.project).isdisjoint(_NOT_IN_PROJECT):
            raise UserError(
                f"wandb.project {self.project!r}: W&B takes names of up to {_MAX_PROJECT} characters without any of "
                f"{' '.join(_NOT_IN_PROJECT)}"
            )

    def logger(self, run_dir: Path, name: str, config: dict[str, Any]) -> WandbRun | None:
        """Create the logger of a run directory, None for mode "disabled"; it writes and connects only in `WandbRun.start`.

        Args:
            run_dir: the run directory; W&B's own files go below it.
            name: display name.
            config: the complete configuration, as plain data.

        Raises:
            UserError: the mode is online, and no API key is found.
        """
        os.environ.setdefault("WANDB_SILENT", "true")  # W&B's banners would break the progress bar; it reads this only once
        mode = self._resolved_mode()
        if mode == "disabled":
            return None
        if mode == "online" and not has_api_key():
            raise UserError(
                f"{'wandb.mode' if self.mode == 'online' else 'WANDB_MODE'} is online, but no W&B key is known here; run "
                "`wandb login`, or set --wandb.mode offline"
            )
        return WandbRun(self, mode, run_dir, name, config)

    def _resolved_mode(self) -> str:
        """Return the mode of these settings, else of WANDB_MODE, else online or offline by the API key."""
        mode = self.mode if self.mode != "auto" else os.environ.get("WANDB_MODE", "")
        mode = {"dryrun": "offline", "run": "online"}.get(mode, mode)
        if mode not in ("", "online", "offline", "disabled"):
            raise UserError(
                f"the environment variable WANDB_MODE is {mode!r}; set it to online, offline or disabled, or unset it"
            )
        return mode or ("online" if has_api_key() else "offline")


class WandbRun(WandbLogger):
    """W&B run of one run directory; the id is stored there, so a resumed training continues the same W&B run.

    Failures of W&B's server or service process never stop the training.

    Args:
        settings: W&B settings.
        mode: "online" or "offline".
        run_dir: the run directory.
        name: display name.
        config: the complete configuration, as plain data.
    """

    def __init__(self, settings: Wandb, mode: str, run_dir: Path, name: str, config: dict[str, Any]) -> None:
        super().__init__(name=name, save_dir=run_dir, project=settings.project)
        self.settings = settings
        self.mode = mode
        self.folder = run_dir / "wandb"
        self.config = config

    @rank_zero_only
    def start(self, environment: Mapping[str, Any], model: nn.Module, watch_every: int) -> None:
        """Start or continue the W&B run and print its address, on rank 0 only.

        Args:
            environment: plain data to add to the configuration: machine, versions, processes.
            model: model whose gradients and weights are watched, if the settings request it.
            watch_every: batches between two histograms; 0 for none.
        """
        import wandb

        self._id = _run_id(self.folder)
        before = set(self.folder.glob("run-*"))
        try:
            run = self._init(self.mode)
        except Exception as error:
            # No network, a wrong key, an incompatible server … The service process still holds the id.
            wandb.teardown(1)
            for empty in set(self.folder.glob("run-*")) - before:
                shutil.rmtree(empty, ignore_errors=True)
            if self.mode == "offline":
                print(f"W&B: cannot start ({_reason(error)}); training continues without it", file=sys.stderr)
                return
            print(f"W&B: the server cannot be reached ({_reason(error)})", file=sys.stderr)
            self.mode = "offline"
            self.start(environment, model, watch_every)
            return
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        run.config.update(dict(environment), allow_val_change=True)
        if self.settings.watch != "off" and watch_every:
            run.watch(model, log=self.settings.watch, log_freq=watch_every)
        self._experiment = run
        print(f"W&B: {run.url}" if self.mode == "online" else f"W&B: offline; to upload it: {self._sync_command}")

    @property
    def _sync_command(self) -> str:
        return f"cd {self.folder.parent} && wandb sync"

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run; a dummy before the start and after a failure, where Lightning's logger would start a new run."""
        return self._experiment or _DummyExperiment()

    def _init(self, mode: str) -> Any:
        import wandb

        settings = self.settings
        return wandb.init(
            mode=cast(Any, mode),
            dir=self.folder.parent,
            id=self._id,
            resume="allow",
            name=self._name,
            project=settings.project,
            entity=settings.entity,
            group=settings.group,
            tags=list(settings.tags),
            notes=settings.notes,
            config=self.config,
            settings=wandb.Settings(
                init_timeout=settings.init_timeout,
                finish_timeout=settings.finish_timeout,
                finish_timeout_raises=True,
                x_transaction_log_flush_interval=2,  # the default of 15 seconds would be lost by a kill
            ),
        )

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log one row at `step`, the number of trained batches."""
        if self._experiment is None:
            return
        try:
            self._experiment.log({**metrics, STEP: step})
        except Exception as error:  # the service process ended, killed for memory for example
            print(f"W&B: connection lost ({_reason(error)}); training continues without it", file=sys.stderr)
            self._experiment = None
            with suppress(Exception):  # after a failure here, teardown does not fail again at the process's end
                import wandb

                wandb.teardown(1)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Log nothing: `start` passes the complete configuration."""

    @rank_zero_only
    def finish(self, failed: bool, best: Path, best_step: int | None) -> None:
        """Finish the W&B run, so that its process ends and the next run in this process gets its own.

        Args:
            failed: whether training stopped by an exception.
            best: file of the best checkpoint.
            best_step: its step, None where no checkpoint was the best yet.
        """
        run, self._experiment = self._experiment, None
        if run is None:
            return
        try:
            if self.settings.log_best and best_step is not None:
                self._log_best(run, best, best_step)
            run.finish(exit_code=int(failed))
        except Exception as error:  # the server or the service process has gone
            print(
                f"W&B: not everything was uploaded ({_reason(error)}); to upload it later: {self._sync_command} "
                "--include-online",
                file=sys.stderr,
            )

    def _log_best(self, run: Any, best: Path, step: int) -> None:
        """Log the best checkpoint as an artifact, unless it was logged already.

        A hard link to it stays in the folder: an offline run is uploaded later, when training may have replaced the file.
        """
        import wandb

        link = self.folder / "best" / f"step_{step:07d}.ckpt"
        if link.is_file():
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            link.hardlink_to(best)
        except OSError:  # not every file system has hard links
            shutil.copyfile(best, link)
        artifact = wandb.Artifact(f"best-{self._id}", type="model", metadata={"step": step})
        artifact.add_file(str(link), name=best.name, policy="immutable", skip_cache=True)
        run.log_artifact(artifact, aliases=["best", f"step-{step}"])


def stop_service() -> None:
    """Stop W&B's service process now, for a process that is about to be killed."""
    if "wandb" in sys.modules:
        import wandb

        with suppress(Exception):
            wandb.teardown()


def has_api_key() -> bool:
    """Return whether the environment or the netrc file holds an API key for W&B's server, without a prompt."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    from netrc import NetrcParseError, netrc
    from urllib.parse import urlsplit

    import wandb

    default = wandb.Settings().base_url
    server = os.environ.get("WANDB_BASE_URL") or wandb.setup().settings.base_url
    hosts = [urlsplit(server).netloc] + ["api.wandb.ai"] * (server.rstrip("/") in (default, "https://api.wandb.ai"))
    home = Path.home() / ".netrc"
    file = os.environ.get("NETRC") or (home if home.exists() else home.with_name("_netrc"))
    try:
        entries = netrc(file)
    except (OSError, NetrcParseError):
        return False
    return any(entries.authenticators(host) is not None for host in hosts)


def _run_id(folder: Path) -> str:
    """Return the run id stored in the folder; the first call creates it atomically, from WANDB_RUN_ID under `wandb agent`."""
    file = folder / "run_id.txt"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{file.name}.{os.getpid()}.part"
        part.write_text((os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)) + "\n")
        with suppress(FileExistsError):  # of two processes the first one wins
            os.link(part, file)
        part.unlink()
    return file.read_text().strip()


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:240] or type(error).__name__
