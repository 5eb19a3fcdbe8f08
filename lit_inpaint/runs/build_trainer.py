"""Build the Lightning Trainer of a run with its callbacks and loggers, and train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger

from lit_inpaint import callbacks
from lit_inpaint.callbacks.save_checkpoints import Mode
from lit_inpaint.cluster.agree_on_run_dir import cleanup
from lit_inpaint.cluster.checkpoint_on_signal import GracefulShutdown
from lit_inpaint.cluster.launch_info import LaunchInfo
from lit_inpaint.cluster.signal_handlers import Signals
from lit_inpaint.cluster.slurm_cluster_environment import cluster_environments
from lit_inpaint.cluster.slurm_job import current_job
from lit_inpaint.cluster.watchdog import Watchdog
from lit_inpaint.data import InpaintingData
from lit_inpaint.data.split_record import summarize_record
from lit_inpaint.engine.ddp_strategy import exit_together, validate_strategy
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.engine.sync_batchnorm import SyncBatchNorm
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.loggers import CSVLogger, Wandb, tensorboard_logger
from lit_inpaint.metrics import DistributionMetrics, Protocol
from lit_inpaint.metrics.distribution_scores import score_directions
from lit_inpaint.profiling.macs import count_params_macs
from lit_inpaint.runs.choose_run_dir import inherited_by_children
from lit_inpaint.runs.environment_snapshot import LaunchRecord, RunInCheckpoint, environment_info
from lit_inpaint.runs.run_dir import RunDir
from lit_inpaint.storage.output_files import write_json


class RunTrainer:
    """Lightning's Trainer of one run, with its callbacks and loggers.

    Args:
        run: the run directory.
        launch: of this process.
        signals: signals received so far, and from now on.
        model: the paper.
        data: the data module, set up.
        config: the complete configuration, as plain data.
        trainer_args: keyword arguments of Lightning's Trainer, and `sync_batchnorm`.
        protocol: metrics and mask-ratio buckets of validation.
        distribution: builds metrics of all samples together; validation computes them where `best_metric` is one of them or is
            combined from one.
        wandb: settings of Weights & Biases.
        own_callbacks: of the user; Lightning calls them after those that measure and draw, and before those that save.
        own_loggers: of the user; they get all numbers and, at the start, the configuration.
        watchdog_timeout: seconds without progress after which the watchdog ends the run, 0 for none.
        step: number of trained batches in the checkpoint to resume from, None for a new run.

    Raises:
        UserError: an argument is rejected.
    """

    def __init__(
        self,
        run: RunDir,
        launch: LaunchInfo,
        signals: Signals,
        model: Inpainter,
        data: InpaintingData,
        config: dict[str, Any],
        trainer_args: dict[str, Any],
        protocol: Protocol,
        distribution: DistributionMetrics | None,
        wandb: Wandb,
        own_callbacks: Sequence[Callback],
        own_loggers: Sequence[Logger],
        watchdog_timeout: float,
        step: int | None,
    ) -> None:
        self.run, self.model, self.data, self.step = run, model, data, step
        self.log_every: int = trainer_args["log_every_n_steps"] or 0
        self.csv = CSVLogger(run.metrics)
        self.wandb = wandb.logger(run.path, name=f"{config['experiment']}/{run.path.name}", config=config)
        loggers: list[Logger] = [self.csv, *([self.wandb] if self.wandb is not None else [])]
        if config["tensorboard"]:
            loggers.append(tensorboard_logger(run.path, step))
        loggers += own_loggers
        self.own_loggers, self.config = own_loggers, config
        of_set = score_directions(protocol, () if distribution is None else distribution())
        best_metric, best_mode = choose_best(config["best_metric"], config["best_mode"], protocol, of_set)
        in_validation = distribution if best_metric.removeprefix("val/") in of_set else None
        self.checkpoint = callbacks.RunCheckpoint(run.checkpoints, config["checkpoint_every"], best_metric, best_mode)
        self.shutdown = GracefulShutdown(self.checkpoint, signals, requeued=current_job() is not None)
        self.watchdog = Watchdog(run.ranks, watchdog_timeout, run.last)
        self.record = RunInCheckpoint(config, data)
        ema, progress_bar = config["ema"], trainer_args["enable_progress_bar"] is not False
        ordered: list[Callback] = [
            # EMA weights are swapped in before the callbacks that evaluate or draw, and out before those that save.
            *([callbacks.GeneratorEMA(ema)] if ema is not None else []),
            callbacks.ValidationMetrics(protocol, config["validation_loss"], in_validation),
            callbacks.SampleGrids(run.samples, config["num_samples"], config["sample_every"]),
            callbacks.TrainingLog(),
            callbacks.NaNGuard(run.nan),
            *own_callbacks,
            self.record,
            *([callbacks.RunProgress()] if progress_bar else []),
            *([callbacks.LogMACs(*_count_params_macs(model, data.size))] if step is None else []),
            LaunchRecord(run.launches, launch.launcher, lambda: cleanup(launch, run.path)),
            self.watchdog,
            self.shutdown,
            self.checkpoint,
        ]
        self.trainer = _trainer(run, launch, trainer_args, loggers, ordered)
        # Here, so that one process reports the mistake, before Lightning starts the others.
        validate_strategy(self.trainer.strategy, model.stages(), model.discriminator is not None)

    def fit(self, config_yaml: str, messages: Sequence[str]) -> Trainer:
        """Write the configuration, start the loggers and train to the end of the run.

        Args:
            config_yaml: the complete configuration, for `config.yaml`.
            messages: lines to print at the start.

        Returns:
            The Trainer; of several processes each has left the process group.
        """
        trainer, run = self.trainer, self.run
        failed = True
        try:
            if trainer.is_global_zero:
                self._start(config_yaml, messages)
            with (
                self.shutdown.handling(),
                inherited_by_children(run, trainer.world_size),
                exit_together(trainer),
                self.watchdog.watching(),
            ):
                resume_from = str(run.last) if self.step is not None else None
                trainer.fit(self.model, self.data, ckpt_path=resume_from, weights_only=True)
                if self.checkpoint.validation_due:  # killed in the validation after the last batch: `fit` had nothing to do
                    trainer.validate(self.model, self.data, verbose=False)
            failed = False
        finally:
            self.finish_loggers(failed)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        return trainer

    def _start(self, config_yaml: str, messages: Sequence[str]) -> None:
        self.run.open(config_yaml)
        if self.step is None:
            write_json(self.run.splits, summarize_record(self.record.splits))
        self.csv.rewind(self.step if self.step is not None else -1)
        print(self.data.describe())
        print(f"Run directory: {self.run.path}" + (f", resumed at step {self.step}" if self.step is not None else ""))
        print(*messages, sep="\n", end="\n" if messages else "")
        for logger in self.own_loggers:
            logger.log_hyperparams(self.config)
        if self.wandb is not None:
            processes = self.trainer.world_size
            batch = {"processes": processes, "effective_batch": self.data.batch_size * processes}
            self.wandb.start({"machine": environment_info(), **batch}, self.model, self.log_every)

    def finish_loggers(self, failed: bool) -> None:
        """Finish the W&B run; `failed` is its exit code."""
        if self.wandb is not None:
            self.wandb.finish(failed, self.checkpoint.best, self.checkpoint.best_step)


def choose_best(
    name: str | None, mode: Mode | None, protocol: Protocol, of_set: Mapping[str, bool] = MappingProxyType({})
) -> tuple[str, Mode]:
    """Complete the settings `best_metric` and `best_mode`: the logged value that chooses `best.ckpt`, and its better end.

    Args:
        name: None: the protocol's main metric over all samples.
        mode: None: the direction of the metric; of losses the min.
        protocol: of the validation, which logs `val/<metric>` and `val/<bucket>/<metric>`.
        of_set: scores of all samples together by name, and whether higher is better.

    Raises:
        UserError: the direction of a value that no protocol has is not given, or a metric is missing that it is combined from.
    """
    name = name or f"val/{protocol.main_metric.name}"
    if mode is None and name.startswith("val_loss/"):
        mode = "min"
    group, _, metric = name.rpartition("/")
    known = {one.name: one for one in protocol.metrics}
    if mode is None and group.startswith("val") and metric in known:
        mode = "max" if known[metric].higher_is_better else "min"
    if mode is None and group == "val" and metric in of_set:
        mode = "max" if of_set[metric] else "min"
    needed = [one.distribution for one in protocol.combined if metric.startswith(one.name)]
    if needed and metric not in of_set:
        raise UserError(f"best_metric {name} is combined from {needed[0]}; add it to the metrics: --metrics [{needed[0]}]")
    if mode is None:
        names = [f"val/{one}" for one in (*known, *of_set)]
        raise UserError(
            f"best_metric {name} is no metric of the protocol {protocol.name}{did_you_mean(name, names, show_all=True)} If a "
            "callback of yours logs it, set best_mode to max or min"
        )
    return name, mode


def _trainer(
    run: RunDir, launch: LaunchInfo, trainer_args: dict[str, Any], loggers: list[Logger], ordered: list[Callback]
) -> Trainer:
    args = dict(trainer_args)
    if launch.external:
        listed = isinstance(args["devices"], list) or "," in str(args["devices"])
        args |= {"num_nodes": launch.nodes, "devices": args["devices"] if listed else launch.per_node}
    sync_batchnorm = [SyncBatchNorm()] if args.pop("sync_batchnorm") else []
    try:
        return Trainer(
            **args,
            default_root_dir=run.path,
            logger=loggers,
            plugins=[callbacks.AtomicCheckpointIO(), *sync_batchnorm, *cluster_environments(launch)],
            use_distributed_sampler=False,  # the data module's samplers split the samples among processes themselves
            callbacks=ordered,
        )
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"the Trainer rejects its settings: {error}") from error


def _count_params_macs(model: Inpainter, size: int) -> tuple[int, int]:
    """Count parameters and MACs of the generator; the modules keep their training mode."""
    modes = [(module, module.training) for module in model.modules()]
    counts = count_params_macs(model, size)
    for module, training in modes:
        module.training = training
    return counts.parameters, counts.macs
