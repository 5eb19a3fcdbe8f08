"""Weights & Biases: one run for one run folder, whatever happens to its processes; offline by itself where there is no key.

Three things are worth knowing of W&B (0.31), as what stands here leans on them:

- Rows are numbered by W&B's own `_step`, one more for each call. All our rows, images too, carry `trainer/global_step` as well,
  and `define_metric` makes that the axis of every chart. So no row is dropped for being late, and those that a resumed run
  repeats after a kill stand beside the ones from before.
- Each start of an offline run writes a folder of its own, all with one id. `wandb sync` uploads them in the order of their
  starts, and numbers the rows of a later one on from those of the earlier.
- What is sent to a server that has gone stands on disk as well, in a `.wandb` file like an offline run's.
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

from lit_inpaint.callbacks.save_checkpoints import RunCheckpoint
from lit_inpaint.errors import UserError

STEP = "trainer/global_step"
"""The one axis: batches learnt from."""


@dataclass(frozen=True)
class Wandb:
    """How a run appears on the dashboards of Weights & Biases.

    Attributes:
        mode: "auto" goes online where a key is known and offline elsewhere; "disabled" writes nothing.
        project: W&B project.
        entity: user or team that the project belongs to, None for the key's own.
        group: groups runs, None for none.
        tags: labels.
        notes: free text.
        log_best: keep the best checkpoint as an artifact, with its step and "best" as aliases, whenever training ends or stops.
        watch: histograms of the networks' gradients, or of gradients and weights, every `trainer.log_every_n_steps` batches.
        init_timeout: seconds to wait for the server at the start; where it does not answer, the run goes on offline.
        finish_timeout: seconds to wait at the end for what is not yet uploaded; it stays on disk, for `wandb sync`.
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

    def logger(self, run_dir: Path, name: str, config: dict[str, Any]) -> WandbRun | None:
        """The logger for a run folder; nothing is written and nobody is asked before its `start`.

        Args:
            run_dir: the run folder; W&B's own files go below it.
            name: shown on the dashboard.
            config: the complete configuration, as plain data.

        Raises:
            UserError: online is asked for, and W&B would have to ask for a key.
        """
        os.environ.setdefault("WANDB_SILENT", "true")  # its banners would break the progress bar; it reads this only once
        mode = self._resolved()
        if mode == "disabled":
            return None
        if mode == "online" and not key_known():
            raise UserError(
                f"{'wandb.mode' if self.mode == 'online' else 'WANDB_MODE'} is online, but no W&B key is known here; run "
                "`wandb login`, or say --wandb.mode offline"
            )
        return WandbRun(self, mode, run_dir, name, config)

    def _resolved(self) -> str:
        """What is said here, else in W&B's own environment variable, else what there is a key for."""
        wanted = self.mode if self.mode != "auto" else os.environ.get("WANDB_MODE", "")
        wanted = {"dryrun": "offline", "run": "online"}.get(wanted, wanted)
        if wanted not in ("", "online", "offline", "disabled"):
            raise UserError(
                f"the environment variable WANDB_MODE is {wanted!r}; set it to online, offline or disabled, or unset it"
            )
        return wanted or ("online" if key_known() else "offline")


class WandbRun(WandbLogger):
    """The W&B run of one run folder: its id lies there, so that a resumed training goes on in the same W&B run.

    Whatever happens to W&B's server or its helper process, training goes on.

    Args:
        settings: as asked for.
        mode: "online" or "offline".
        run_dir: the run folder.
        name: shown on the dashboard.
        config: the complete configuration, as plain data.
    """

    def __init__(self, settings: Wandb, mode: str, run_dir: Path, name: str, config: dict[str, Any]) -> None:
        super().__init__(name=name, save_dir=run_dir, project=settings.project)
        self.settings = settings
        self.mode = mode
        self.folder = run_dir / "wandb"
        self.config = config

    @rank_zero_only
    def start(self, facts: Mapping[str, Any], model: nn.Module, every: int) -> None:
        """Begin the W&B run, or go on with it, and say in a line where it is; in the first process of a training only.

        Args:
            facts: plain data that belongs to the configuration but was not set: machine, versions, processes.
            model: whose gradients and weights are watched, if so asked for.
            every: batches between two of their histograms; 0 for none.
        """
        import wandb

        self._id = _run_id(self.folder)
        before = set(self.folder.glob("run-*"))
        try:
            run = self._init(self.mode)
        except Exception as error:
            # Whatever it is: no network, a wrong key, a server of another kind. Its helper process still holds the id.
            wandb.teardown(1)
            for empty in set(self.folder.glob("run-*")) - before:
                shutil.rmtree(empty, ignore_errors=True)
            if self.mode == "offline":
                print(f"W&B: cannot be started ({_reason(error)}); training goes on without it", file=sys.stderr)
                return
            print(f"W&B: its server cannot be had ({_reason(error)})", file=sys.stderr)
            self.mode = "offline"
            self.start(facts, model, every)
            return
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        run.config.update(dict(facts), allow_val_change=True)
        if self.settings.watch != "off" and every:
            run.watch(model, log=self.settings.watch, log_freq=every)
        self._experiment = run
        print(f"W&B: {run.url}" if self.mode == "online" else f"W&B: offline; to upload it: {self._sync}")

    @property
    def _sync(self) -> str:
        return f"cd {self.folder.parent} && wandb sync"

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, or what ignores everything: before the start, and where W&B cannot be had. Lightning would begin one."""
        return self._experiment or _DummyExperiment()

    def _init(self, mode: str) -> Any:
        import wandb

        wanted = self.settings
        return wandb.init(
            mode=cast(Any, mode),
            dir=self.folder.parent,
            id=self._id,
            resume="allow",
            name=self._name,
            project=wanted.project,
            entity=wanted.entity,
            group=wanted.group,
            tags=list(wanted.tags),
            notes=wanted.notes,
            config=self.config,
            settings=wandb.Settings(
                init_timeout=wanted.init_timeout,
                finish_timeout=wanted.finish_timeout,
                finish_timeout_raises=True,
                x_transaction_log_flush_interval=2,  # not 15 seconds, which a kill would lose
            ),
        )

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """One row; `step` is the number of batches learnt from."""
        if self._experiment is None:
            return
        try:
            self._experiment.log({**metrics, STEP: step})
        except Exception as error:  # its helper process is gone, killed for memory, say
            print(f"W&B: lost ({_reason(error)}); training goes on without it", file=sys.stderr)
            self._experiment = None
            with suppress(Exception):  # once it has failed here, it does not at the process's end
                import wandb

                wandb.teardown(1)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Nothing: the run was begun with the complete configuration."""

    @rank_zero_only
    def finish(self, failed: bool, checkpoint: RunCheckpoint) -> None:
        """End the W&B run, so that its process ends and the next run of this one is another.

        Args:
            failed: whether training broke off.
            checkpoint: knows the best checkpoint so far, if there is one.
        """
        run, self._experiment = self._experiment, None
        if run is None:
            return
        try:
            if self.settings.log_best and checkpoint.best_step is not None:
                self._keep(run, checkpoint.best, checkpoint.best_step)
            run.finish(exit_code=int(failed))
        except Exception as error:  # a server that has gone, a helper process that has
            print(
                f"W&B: not everything was uploaded ({_reason(error)}); to do so later: {self._sync} --include-online",
                file=sys.stderr,
            )

    def _keep(self, run: Any, best: Path, step: int) -> None:
        """Log the best checkpoint as an artifact, if it is not the one that was logged last.

        A link to it stays in the folder: an offline run is uploaded later, when training may have put another in its place.
        """
        import wandb

        kept = self.folder / "best" / f"step_{step:07d}.ckpt"
        if kept.is_file():
            return
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            kept.hardlink_to(best)
        except OSError:  # not on every file system
            shutil.copyfile(best, kept)
        artifact = wandb.Artifact(f"best-{self._id}", type="model", metadata={"step": step})
        artifact.add_file(str(kept), name=best.name, policy="immutable", skip_cache=True)
        run.log_artifact(artifact, aliases=["best", f"step-{step}"])


def finish(logger: WandbRun | None, failed: bool, checkpoint: RunCheckpoint) -> None:
    """End the W&B run of `logger`, if it came to one; see `WandbRun.finish`."""
    if logger is not None:
        logger.finish(failed, checkpoint)


def end_helper() -> None:
    """End W&B's helper process now, for a process that will not come to its own end: it is about to be killed."""
    if "wandb" in sys.modules:
        import wandb

        with suppress(Exception):
            wandb.teardown()


def key_known() -> bool:
    """Whether W&B would find a key without asking: in the environment or in its server's netrc entry."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    from netrc import NetrcParseError, netrc
    from urllib.parse import urlsplit

    import wandb

    own = wandb.Settings().base_url
    server = os.environ.get("WANDB_BASE_URL") or wandb.setup().settings.base_url
    hosts = [urlsplit(server).netloc] + ["api.wandb.ai"] * (server.rstrip("/") in (own, "https://api.wandb.ai"))
    home = Path.home() / ".netrc"
    file = os.environ.get("NETRC") or (home if home.exists() else home.with_name("_netrc"))
    try:
        entries = netrc(file)
    except (OSError, NetrcParseError):
        return False
    return any(entries.authenticators(host) is not None for host in hosts)


def _run_id(folder: Path) -> str:
    """The id that is kept in the folder; written once, whole or not at all. `wandb agent` says which one its runs have."""
    file = folder / "run_id.txt"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{file.name}.{os.getpid()}.part"
        part.write_text((os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)) + "\n")
        with suppress(FileExistsError):  # of two, the first
            os.link(part, file)
        part.unlink()
    return file.read_text().strip()


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:240] or type(error).__name__
