"""Choose the run directory, the same in all processes, and release it at the end of the run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.utilities.exceptions import MisconfigurationException

from lit_inpaint.cluster.agree_on_run_dir import broadcast_run_dir, cleanup
from lit_inpaint.cluster.launch_info import LaunchInfo
from lit_inpaint.cluster.signal_handlers import GracefulExit
from lit_inpaint.cluster.slurm_job import SlurmJob, current_job
from lit_inpaint.errors import UserError
from lit_inpaint.loggers.wandb import stop_service
from lit_inpaint.runs.run_dir import RunDir
from lit_inpaint.storage.output_files import require_folder_name

Resume = Literal["auto", "must", "never"]

_VARIABLE = "LIT_INPAINT_RUN_DIR"
"""Environment variable that holds the run directory for the processes that Lightning starts."""


def choose_run_dir(launch: LaunchInfo, run_dir: str | None, resume: Resume, config: dict[str, Any]) -> tuple[RunDir, bool]:
    """Choose the run directory on rank 0 and return it on every rank; rank 0 locks it, or creates one that no other run has.

    A directory that does not exist yet, and that the user named, is created later.

    Args:
        launch: of this process.
        run_dir: the directory, if the user named one.
        resume: whether to resume from a checkpoint.
        config: the complete configuration.

    Returns:
        The run directory, and whether the run resumes from a checkpoint there.

    Raises:
        UserError: as `choose_run`; or the processes cannot agree on a directory.
    """
    experiment = config["experiment"]
    if (inherited := os.environ.get(_VARIABLE)) is not None:
        return choose_run(experiment, inherited, resume, config, first=False, job=current_job())
    if launch.node > 0 and not launch.external and run_dir is None:
        raise UserError(
            "processes that are started by hand on several nodes cannot agree on a run directory; name one: --run_dir DIR"
        )
    chosen: list[RunDir] = []

    def choose() -> tuple[Path, bool]:
        run, resumes = choose_run(experiment, run_dir, resume, config, launch.is_global_zero, current_job())
        if launch.is_global_zero and run_dir is None and not resumes:
            run = _create(run)
        elif launch.is_global_zero and run.path.is_dir():
            run.lock()  # now: the other processes would wait for a first process that fails to lock it later
        chosen.append(run)
        return run.path, resumes

    requested = Path(run_dir) if run_dir is not None else Path("runs") / experiment
    try:
        path, resumes = broadcast_run_dir(launch, requested, choose)
    except BaseException:
        for run in chosen:
            run.discard()
        raise
    return (chosen or [RunDir(path)])[0], resumes


def choose_run(
    experiment: str,
    run_dir: str | None,
    resume: Resume,
    config: dict[str, Any],
    first: bool = True,
    job: SlurmJob | None = None,
) -> tuple[RunDir, bool]:
    """Choose the run directory in one process, and whether the run resumes from a checkpoint there.

    A directory named by `run_dir` is used as it is. Otherwise a requeued SLURM job resumes in its own directory, whatever
    `resume` is, since it is the same run. Else `auto` and `must` search for the newest run of the experiment that is
    unfinished, has this very configuration and is not being trained by another process. Without one, `auto` starts a new run.
    A new directory is named after the job, or else after the time; the name may be that of another run.

    Args:
        experiment: names the directory below `runs/`.
        run_dir: the directory, if the user or the first process of the run named one.
        resume: whether to resume from a checkpoint.
        config: the complete configuration.
        first: False in the other processes of a run, for which the first one locks the directory.
        job: SLURM job of this process.

    Raises:
        UserError: `must` finds no checkpoint, `never` would overwrite a run, or the run there has other settings.
    """
    requeued = job is not None and job.restarts > 0
    if run_dir is not None:
        require_folder_name(run_dir, "--run_dir")
        run = RunDir(Path(run_dir))
        if resume == "never" and first and not requeued and (run.config.exists() or run.last.exists()):
            raise UserError(f"{run.path} already holds a run; name another --run_dir, or use --resume auto to resume it")
        if resume == "must" and not run.last.is_file():
            raise UserError(f"--resume must: there is no {run.last} to resume from")
        if run.last.is_file() and not run.of_trial():
            raise UserError(f"the run in {run.path} belongs to another trial of the sweep; leave --run_dir out for a new one")
        if different := run.differences(config):
            raise UserError(
                f"the run in {run.path} was started with other settings ({'; '.join(different[:3])}"
                f"{' …' if len(different) > 3 else ''}); name another --run_dir, or repeat the old settings"
            )
        return run, (resume != "never" or requeued) and run.last.is_file()
    parent = Path("runs") / experiment
    existing = [RunDir(path) for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    if job is not None and requeued:
        own = [run for run in existing if _is_of(job, run.path.name) and run.matches(config)]
        for run in own:
            if run.try_lock():
                return run, run.last.is_file()
        if own:
            own[0].lock()  # raises: another process trains in it
    if resume != "never":
        for run in sorted((run for run in existing if run.last.is_file()), key=_last_saved, reverse=True):
            if run.finished_steps is None and run.matches(config) and run.of_trial() and run.try_lock():
                return run, True
    if resume == "must":
        raise UserError(f"--resume must: {parent} holds no unfinished run with these settings; name one with --run_dir")
    return RunDir(parent / (job.name if job is not None else time.strftime("%Y%m%d-%H%M%S"))), False


@contextmanager
def released(run: RunDir, launch: LaunchInfo) -> Iterator[None]:
    """Release the run directory at the end of the block: discard it after an error, requeue the SLURM job after a signal.

    After an error that is no user's mistake, the directory stays if the run was started in it.

    Args:
        run: the run directory.
        launch: of this process.

    Raises:
        UserError: of the block; or Lightning's error for arguments that do not fit together.
    """
    try:
        yield
    except MisconfigurationException as error:
        run.discard()
        raise UserError(f"the Trainer rejects its settings: {error}") from error
    except UserError:
        run.discard()
        raise
    except GracefulExit as exit_:
        run.unlock()
        job = current_job()
        if launch.is_global_zero and job is not None and not exit_.complete and exit_.number != signal.SIGINT:
            stop_service()
            print(job.requeue(exit_.number), flush=True)
        raise
    except BaseException:
        if not run.config.exists():
            run.discard()
        raise
    finally:
        run.unlock()
        cleanup(launch, run.path)


@contextmanager
def inherited_by_children(run: RunDir, processes: int) -> Iterator[None]:
    """Pass the run directory to the processes that Lightning starts in the block."""
    if processes > 1:
        os.environ.setdefault(_VARIABLE, str(run.path))
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)


def _is_of(job: SlurmJob, name: str) -> bool:
    """Return whether a start of `job` created the directory; several steps of a job number theirs."""
    return name == job.name or (name.startswith(f"{job.name}-") and name[len(job.name) + 1 :].isdigit())


def _last_saved(run: RunDir) -> tuple[int, str]:
    return run.last.stat().st_mtime_ns, run.path.name


def _create(run: RunDir) -> RunDir:
    """Create the directory of a new run; append -2, -3, … to its name where another run has it, also one of this moment."""
    number, name = 1, run.path.name
    while not run.create():
        number += 1
        run = RunDir(run.path.with_name(f"{name}-{number}"))
    return run
