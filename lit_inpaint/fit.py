"""Train: `python -m lit_inpaint.fit --experiment lpi_demo`."""

from __future__ import annotations

import argparse
import importlib
import inspect
import math
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from lit_inpaint.cluster.agree_on_run_dir import broadcast_run_dir, cleanup, should_print
from lit_inpaint.cluster.launch_info import Devices, LaunchInfo, batch_line, find_launch, launch_summary, resolve_devices
from lit_inpaint.cluster.signal_handlers import GracefulExit, Signals
from lit_inpaint.cluster.slurm_job import current_job
from lit_inpaint.config import check_settings, entry_point, load_yaml
from lit_inpaint.config.command_line import CommandParser
from lit_inpaint.errors import UserError
from lit_inpaint.runs.environment_snapshot import environment_info
from lit_inpaint.runs.run_dir import RunDir, choose_run

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.loggers import Logger

    from lit_inpaint.data import InpaintingData
    from lit_inpaint.engine.inpainter import Inpainter
    from lit_inpaint.loggers.wandb import Wandb

_CHOSEN = "LIT_INPAINT_RUN_DIR"
_EPILOG = """
Any setting of an experiment can be given on the command line, by its place in the YAML:
  --data.root DIR  --data.batch_size 16  --model.blocks 4  --model.generator_optimizer.lr 2e-4  --trainer.max_steps 1000
  --trainer.devices 2  --seed 1  --ema 0.999  --wandb.mode disabled
--print_config shows all of them with their values, and trains nothing.
"""


def main(argv: list[str]) -> int:
    """Train one run to its end, or go on with it; returns the exit status."""
    misfit, signals = None, Signals()
    try:
        launch = find_launch()
    except UserError as mistake:  # not yet, as the settings may only be shown
        launch, misfit = LaunchInfo("Lightning"), mistake
    # Early, since either would end a SLURM job that could come back: its last minutes may begin while the data is listed.
    early = (signal.SIGUSR1, signal.SIGTERM) if current_job() is not None else (signal.SIGUSR1,)
    try:
        with signals.handling(*early):
            return _main(argv, launch, misfit, signals)
    except UserError as mistake:
        if not should_print(launch, str(mistake)):
            raise SystemExit(2) from mistake
        raise


def _main(argv: list[str], launch: LaunchInfo, misfit: UserError | None, signals: Signals) -> int:
    options, rest = _parser().parse_known_args(argv)
    start = _start(options)
    config = load_yaml.override(start, rest)
    if options.init_from is not None:
        config["init_from"] = None if options.init_from == "null" else options.init_from
    checked = check_settings.check(config)
    if options.print_config:
        print(check_settings.dump(checked), end="")
        return 0
    if misfit is not None:
        raise misfit
    gpus = _preflight(checked.trainer, launch)
    trainer = checked.trainer
    devices = resolve_devices(launch, trainer.devices, trainer.num_nodes, trainer.strategy, gpus)
    if devices.processes > 1:
        _refuse_shares(trainer)
    return _train(_Start(options, checked, launch, devices, signals, _papers_batch(start, checked)))


@dataclass(frozen=True)
class _Start:
    """What one start of a run is told: command line, checked settings, its processes, signals so far, the paper's batch."""

    options: argparse.Namespace
    checked: Namespace
    launch: LaunchInfo
    devices: Devices
    signals: Signals
    papers_batch: int


def _parser() -> CommandParser:
    parser = CommandParser("fit", "Train one experiment. A run folder is made below runs/, or where --run_dir says.", _EPILOG)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--experiment", metavar="NAME|FILE", help="a file of experiments/, by name or path")
    source.add_argument("--config", metavar="FILE", help="the config.yaml of a run folder, to repeat that run")
    parser.add_argument("--run_dir", metavar="DIR", help="use this run folder as it is (default: runs/<experiment>/<time>)")
    parser.add_argument(
        "--resume",
        choices=("auto", "must", "never"),
        default="auto",
        help="go on from the run folder's last checkpoint: if there is one (auto), or fail (must); or start anew (never)",
    )
    parser.add_argument(
        "--init_from",
        "--init-from",
        metavar="FILE",
        help="start a new run from the weights alone of this checkpoint, as far as they have the same names and shapes",
    )
    parser.add_argument(
        "--watchdog_timeout",
        metavar="SECONDS",
        type=_seconds,
        default=480,
        help="end a run on several processes that makes no progress for so long, and name the process that hangs; 0: never "
        "(default: %(default)s)",
    )
    parser.add_argument("--print_config", action="store_true", help="print the complete configuration and stop")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 on")
    return value


def _start(options: argparse.Namespace) -> load_yaml.Config:
    if options.resume == "must" and options.init_from not in (None, "null"):
        raise UserError(
            "--init_from starts a new run, --resume must goes on with an old one; leave --resume must out (auto goes on where "
            "there is a run), or say --config RUN/config.yaml --run_dir RUN --resume must"
        )
    if options.config is not None:
        path = Path(options.config)
        if not path.is_file():
            raise UserError(f"no configuration at {path}; a run folder holds one as config.yaml")
        return load_yaml.load_experiment(str(path))
    if options.experiment is None:
        names = ", ".join(load_yaml.experiment_names())
        raise UserError(f"name an experiment: --experiment NAME (there are {names}) or --config FILE")
    return load_yaml.load_experiment(options.experiment)


def _preflight(trainer: Namespace, launch: LaunchInfo) -> int | None:
    """Refuse devices that are not there; unasked, Lightning would start as many CPU processes instead.

    Returns the number of GPUs that this process sees, None where the run does not use them.
    """
    import torch

    if trainer.max_steps == 0 or trainer.max_epochs == 0:
        raise UserError("trainer.max_steps or max_epochs is 0, so nothing would be trained; -1 is for no limit")
    if trainer.val_check_interval == 0:
        raise UserError("trainer.val_check_interval is 0; for no validation say --trainer.limit_val_batches 0")
    if trainer.accelerator not in ("auto", "gpu", "cuda"):
        return None
    wanted = trainer.devices
    listed = wanted.split(",") if isinstance(wanted, str) and "," in wanted else wanted
    count = len(listed) if isinstance(listed, list) else int(listed) if str(listed).isdigit() else 1
    there = torch.cuda.device_count()
    if there == 0 and (trainer.accelerator != "auto" or count > 1):
        raise UserError(
            f"this machine has no GPU that PyTorch can use, but --trainer.accelerator {trainer.accelerator} --trainer.devices "
            f"{wanted} asks for that; leave both out, or say --trainer.accelerator cpu --trainer.devices {count}"
        )
    if there and count > there and not launch.external:  # of the processes that are there already, more can be said
        raise UserError(f"--trainer.devices {wanted}: this machine has {there} GPU{'s' * (there > 1)}; ask for at most {there}")
    return there or None


def _refuse_shares(trainer: Namespace) -> None:
    """A share of its own batches is another number for each process, and none at all for some; the others would wait for it."""
    for name in ("limit_val_batches", "limit_train_batches"):
        value = getattr(trainer, name)
        if isinstance(value, float) and value != int(value):
            raise UserError(
                f"trainer.{name} {value} is a share, which several processes would round differently; give a number"
            )


def _enough_to_validate(data: InpaintingData, processes: int) -> None:
    """Refuse a validation set that leaves a process without a sample: it would skip what the others do together."""
    if processes > 1 and (samples := len(cast(Any, data.val_dataloader()).dataset)) < processes:
        raise UserError(
            f"{processes} processes cannot share {samples} validation sample{'s' * (samples > 1)}; raise --data.val_crops, or "
            "say --trainer.limit_val_batches 0"
        )


def _papers_batch(start: load_yaml.Config, checked: Namespace) -> int:
    """Samples per batch as the experiment's file says, before any option of the command line."""
    data = start.get("data")
    given = data.get("init_args", data).get("batch_size") if isinstance(data, dict) else None  # a class may stand alone
    if given is not None:
        return int(given)
    module, _, name = checked.data.class_path.rpartition(".")
    return int(inspect.signature(getattr(importlib.import_module(module), name)).parameters["batch_size"].default)


def _train(start: _Start) -> int:
    import torch
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from lit_inpaint.loggers.wandb import end_helper
    from lit_inpaint.runs.checkpoint_file import read_checkpoint
    from lit_inpaint.runs.final_evaluation import evaluate_final_weights
    from lit_inpaint.runs.init_from import init_from

    checked, launch, first = start.checked, start.launch, start.launch.rank == start.launch.node == 0
    entry_point.silence_warnings()
    entry_point.tune_malloc()
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs that have it; the CPU computes as before
    config = yaml.safe_load(check_settings.dump(checked))
    run, going_on = _choose(start, config)
    try:
        content = read_checkpoint(run.last) if going_on else None
        if content is not None:
            _same_paper(content, checked.model.class_path, run)
        if run.complete(config["trainer"]):
            if first:
                print(f"{run.path} is complete ({run.finished_steps} steps); raise --trainer.max_steps to train on")
            return 0

        torch.manual_seed(checked.seed)  # the weights' initialisation
        objects = check_settings.build(checked)
        model, data = cast("Inpainter", objects.model), cast("InpaintingData", objects.data)
        model.seed = checked.seed
        if first and (start.devices.processes > 1 or current_job() is not None):
            print(*_plan(start, model, run, going_on), sep="\n")
        # Before anything copies or wraps the weights. A run that goes on has its own; the file may be gone by then.
        news = init_from(model, checked.init_from) if checked.init_from is not None and content is None else []
        data.prepare_data()
        data.setup("fit")  # before the run folder: a missing image folder leaves nothing behind
        if checked.trainer.limit_val_batches != 0:
            _enough_to_validate(data, start.devices.processes)
        if first:
            run.lock()
        trainer = _fit(model, data, run, start, config, objects.wandb, content, news)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # the first process closes the run alone
        if trainer.is_global_zero:
            evaluate_final_weights(trainer, model, data, run, checked.baselines, start.signals.check_deadline)
            run.finish(trainer.global_step)
    except MisconfigurationException as error:  # Lightning's word for settings that do not fit together
        run.discard()
        raise UserError(f"the trainer refuses its settings: {error}") from error
    except UserError:
        run.discard()
        raise
    except GracefulExit as leaving:
        run.unlock()
        if first and (job := current_job()) is not None and not leaving.complete and leaving.number != signal.SIGINT:
            end_helper()
            print(job.requeue(leaving.number), flush=True)
        raise
    finally:
        run.unlock()
        cleanup(launch, run.path)
    return 0


def _choose(start: _Start, config: load_yaml.Config) -> tuple[RunDir, bool]:
    """The run folder, the same in all processes, and whether it holds a checkpoint to go on from."""
    options, experiment = start.options, start.checked.experiment
    if (chosen := os.environ.get(_CHOSEN)) is not None:
        return choose_run(experiment, chosen, options.resume, config, first=False, job=current_job())
    if start.launch.node > 0 and not start.launch.external and options.run_dir is None:
        raise UserError(
            "processes that are started by hand on several nodes cannot agree on a run folder; name one: --run_dir DIR"
        )
    taken: list[RunDir] = []

    def choose() -> tuple[Path, bool]:
        first = start.launch.rank == start.launch.node == 0
        run, going_on = choose_run(experiment, options.run_dir, options.resume, config, first, current_job())
        if first and run.path.is_dir():
            run.lock()  # now, as the others would wait for a first process that finds out later that it may not
        taken.append(run)
        return run.path, going_on

    wanted = Path(options.run_dir) if options.run_dir is not None else Path("runs") / experiment
    path, going_on = broadcast_run_dir(start.launch, wanted, choose)
    return (taken or [RunDir(path)])[0], going_on


def _plan(start: _Start, model: Inpainter, run: RunDir, going_on: bool) -> Sequence[str]:
    import torch

    from lit_inpaint.engine.ddp_strategy import describe_strategy

    trainer, processes = start.checked.trainer, start.devices.processes
    gpu = trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    kind = torch.cuda.get_device_name(0) if gpu else "CPU"
    batch = batch_line(start.checked.data.init_args.batch_size, processes, start.papers_batch)
    strategy = describe_strategy(processes, trainer.strategy, model.stages(), model.discriminator is not None)
    precision = str(trainer.precision or "32-true")
    return launch_summary(start.launch, start.devices, kind, batch, strategy, precision, run.path, going_on)


def _same_paper(content: dict[str, Any], class_path: str, run: RunDir) -> None:
    paper = content["lit_inpaint"]["paper"].rpartition(".")[2]
    if paper != class_path.rpartition(".")[2]:
        raise UserError(f"{run.last} is of {paper}, not of {class_path.rpartition('.')[2]}; name another --run_dir")


def _fit(
    model: Inpainter,
    data: InpaintingData,
    run: RunDir,
    start: _Start,
    config: load_yaml.Config,
    wandb: Wandb,
    content: dict[str, Any] | None,
    news: Sequence[str],
) -> Trainer:
    """Everything between an opened and a closed run; `content` is the checkpoint to go on from, `news` lines to print."""
    from lit_inpaint import callbacks
    from lit_inpaint.cluster.checkpoint_on_signal import GracefulShutdown
    from lit_inpaint.cluster.watchdog import Watchdog
    from lit_inpaint.engine.ddp_strategy import exit_together, validate_strategy
    from lit_inpaint.loggers import CSVLogger, finish, tensorboard_logger
    from lit_inpaint.runs.launch_record import LaunchRecord

    checked, launch = start.checked, start.launch
    step = content["global_step"] if content is not None else None
    dashboard = wandb.logger(run.path, name=f"{checked.experiment}/{run.path.name}", config=config)
    checkpoint = callbacks.RunCheckpoint(run.checkpoints, checked.checkpoint_every)
    failed = True
    try:
        csv = CSVLogger(run.metrics)
        interruption = GracefulShutdown(checkpoint, start.signals, requeued=current_job() is not None)
        watchdog = Watchdog(run.ranks, start.options.watchdog_timeout, run.last)
        attendance = LaunchRecord(run.machines, launch.launcher, lambda: cleanup(launch, run.path))
        loggers: list[Logger] = [csv, *([dashboard] if dashboard is not None else [])]
        if checked.tensorboard:
            loggers.append(tensorboard_logger(run.path, step))
        cost = [callbacks.LogMACs(*_cost(model, data.size))] if content is None else []
        trainer = _trainer(run, start, config, loggers, [*cost, attendance, watchdog, interruption, checkpoint])
        validate_strategy(
            trainer.strategy, model.stages(), model.discriminator is not None
        )  # one complaint, not one per process
        if trainer.is_global_zero:
            run.open(check_settings.dump(checked))
            csv.rewind(step if step is not None else -1)
            print(data.describe())
            print(f"Run folder: {run.path}" + (f", going on at step {step}" if step is not None else ""))
            print(*news, sep="\n", end="\n" if news else "")
            if dashboard is not None:
                processes = trainer.world_size
                batch = {"processes": processes, "effective_batch": data.batch_size * processes}
                dashboard.start({"machine": environment_info(), **batch}, model, checked.trainer.log_every_n_steps or 0)
        known = _known_to_children(run.path, trainer.world_size)
        with interruption.listening(), known, exit_together(trainer), watchdog.watching():
            trainer.fit(model, data, ckpt_path=str(run.last) if content is not None else None, weights_only=True)
            if checkpoint.validation_due:  # killed in the validation after the last batch: there was nothing left to fit
                trainer.validate(model, data, verbose=False)
        failed = False
    finally:
        finish(dashboard, failed, checkpoint)
    return trainer


def _cost(model: Inpainter, size: int) -> tuple[int, int]:
    """Parameters and MACs of the generator; the model is left as it was."""
    from lit_inpaint.profiling.macs import count_params_macs

    modes = [(module, module.training) for module in model.modules()]
    found = count_params_macs(model, size)
    for module, training in modes:
        module.training = training
    return found.parameters, found.macs


@contextmanager
def _known_to_children(path: Path, processes: int) -> Iterator[None]:
    """Tell the processes that Lightning starts beside this one which folder was chosen."""
    if processes > 1:
        os.environ.setdefault(_CHOSEN, str(path))
    try:
        yield
    finally:
        os.environ.pop(_CHOSEN, None)


def _trainer(
    run: RunDir,
    start: _Start,
    config: load_yaml.Config,
    loggers: list[Logger],
    last_callbacks: list[Callback],
) -> Trainer:
    from lightning.pytorch import Trainer

    from lit_inpaint import callbacks
    from lit_inpaint.engine.sync_batchnorm import SyncBatchNorm
    from lit_inpaint.runs.config_in_checkpoint import ConfigInCheckpoint

    checked, launch = start.checked, start.launch
    given = checked.trainer.as_dict()
    if launch.external:
        listed = isinstance(given["devices"], list) or "," in str(given["devices"])
        given |= {"num_nodes": launch.nodes, "devices": given["devices"] if listed else launch.per_node}
    sync = [SyncBatchNorm()] if given.pop("sync_batchnorm") else []
    try:
        return Trainer(
            **given,
            default_root_dir=run.path,
            logger=loggers,
            plugins=[callbacks.AtomicCheckpointIO(), *sync, *_environment(launch)],
            use_distributed_sampler=False,  # ours counts each evaluation sample once and shares the training stream out
            # The order matters: the average is swapped in before anything measures or draws, and out before anything saves.
            callbacks=[
                *([callbacks.GeneratorEMA(checked.ema)] if checked.ema is not None else []),
                callbacks.ValidationMetrics(),
                callbacks.SampleGrids(run.samples, checked.num_samples, checked.sample_every),
                callbacks.TrainingLog(),
                callbacks.NaNGuard(run.nan),
                ConfigInCheckpoint(config),
                *([callbacks.RunProgress()] if checked.trainer.enable_progress_bar is not False else []),
                *last_callbacks,
            ],
        )
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"the trainer refuses its settings: {error}") from error


def _environment(launch: LaunchInfo) -> list[ClusterEnvironment]:
    """Whom Lightning is to believe; in a SLURM job it would take one process for one of many, and requeue by itself."""
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment

    from lit_inpaint.cluster.slurm_cluster_environment import SrunEnvironment

    if launch.launcher == "srun":
        return [SrunEnvironment()]
    return [LightningEnvironment()] if launch.launcher == "Lightning" and "SLURM_JOB_ID" in os.environ else []


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log file shows what a terminal would
    entry_point.run_command(main)
