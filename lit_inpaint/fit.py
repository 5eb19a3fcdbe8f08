"""Train: `python -m lit_inpaint.fit --experiment lpi_demo`."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING, cast

import yaml

from lit_inpaint.cluster.agree_on_run_dir import errors_printed_once
from lit_inpaint.cluster.launch_info import LaunchInfo, find_launch
from lit_inpaint.cluster.resolve_devices import Devices, check_trainer_args, check_validation_size
from lit_inpaint.cluster.signal_handlers import Signals
from lit_inpaint.cluster.slurm_job import current_job
from lit_inpaint.config import check_settings, entry_point, fit_options, load_yaml
from lit_inpaint.errors import UserError
from lit_inpaint.runs.trusted_classes import trust

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from lit_inpaint.data import InpaintingData
    from lit_inpaint.engine.inpainter import Inpainter


def main(argv: list[str]) -> int:
    """Train one run to its end, or resume it; return the exit status."""
    launch_error, signals = None, Signals()
    try:
        launch = find_launch()
    except UserError as error:  # raised later: --print_config works under any launcher
        launch, launch_error = LaunchInfo("Lightning"), error
    # Before the data is listed, which takes time: either signal would end a SLURM job that could be requeued.
    early = (signal.SIGUSR1, signal.SIGTERM) if current_job() is not None else (signal.SIGUSR1,)
    with errors_printed_once(launch), signals.handling(*early):
        options, overrides = fit_options.parse(argv)
        experiment = fit_options.load(options)
        config = load_yaml.override(experiment, overrides)
        if options.init_from is not None:
            config["init_from"] = None if options.init_from == "null" else options.init_from
        checked = check_settings.check(config)
        if options.print_config:
            print(check_settings.dump(checked), end="")
            return 0
        if launch_error is not None:
            raise launch_error
        devices = check_trainer_args(launch, checked.trainer.as_dict())
        return _train(options, experiment, checked, launch, devices, signals)


def _train(
    options: argparse.Namespace,
    experiment: load_yaml.Config,
    checked: Namespace,
    launch: LaunchInfo,
    devices: Devices,
    signals: Signals,
) -> int:
    import torch

    from lit_inpaint.cluster.launch_summary import describe_batch_size, experiment_batch_size, print_launch_summary
    from lit_inpaint.engine.check_shapes import check_shapes
    from lit_inpaint.engine.tf32 import set_tf32
    from lit_inpaint.evaluation.evaluator import set_up
    from lit_inpaint.metrics import find_protocol, load_metrics
    from lit_inpaint.runs.build_trainer import RunTrainer
    from lit_inpaint.runs.checkpoint_file import read_checkpoint, read_resume_point
    from lit_inpaint.runs.choose_run_dir import choose_run_dir, released
    from lit_inpaint.runs.final_evaluation import evaluate_final_weights
    from lit_inpaint.runs.init_from import init_from
    from lit_inpaint.runs.same_images import check_same_images

    entry_point.silence_warnings()
    entry_point.tune_malloc()
    set_tf32(checked.tf32)
    config_yaml, trainer_args = check_settings.dump(checked), checked.trainer.as_dict()
    config = yaml.safe_load(config_yaml)
    trust(config)  # the user named these classes; the run's own checkpoints may name them too
    run, resumes = choose_run_dir(launch, options.run_dir, options.resume, config)
    with released(run, launch):
        resume = read_resume_point(run.last, checked.model.class_path) if resumes else None
        step = resume.step if resume is not None else None
        if run.complete(config["trainer"]):
            if launch.is_global_zero:
                print(f"{run.path} is complete ({run.finished_steps} steps); raise --trainer.max_steps to train on")
            return 0

        extra = load_metrics(checked.metrics)  # missing weights are an error before any file is listed
        protocol = extra.extend(find_protocol(checked.protocol))
        torch.manual_seed(checked.seed)  # for the initial weights
        objects = check_settings.build(checked)
        model, data = cast("Inpainter", objects.model), cast("InpaintingData", objects.data)
        model.seed = checked.seed
        in_experiment = experiment_batch_size(experiment.get("data"), checked.data.class_path)
        batch = describe_batch_size(data.batch_size, devices.processes, in_experiment)
        print_launch_summary(launch, devices, trainer_args, checked.tf32, batch, model, run.path, resumes)
        # Before anything copies or wraps the weights. A resumed run has its own; the file may be gone by then.
        messages = init_from(model, checked.init_from) if checked.init_from is not None and step is None else []
        for path in checked.compare:
            read_checkpoint(path)  # a missing or damaged one is found before the training, not after it
        # Before the run directory is created: a missing image folder leaves nothing behind.
        set_up(data, "fit", (protocol,))
        if resume is not None:
            check_same_images(resume.splits, data, run.path)
        for size, batch_size in data.train_shapes():
            check_shapes(model, size, batch_size, checked.trainer.max_steps)
        model.load_loss_networks()  # a missing file of weights leaves nothing behind either
        if checked.trainer.limit_val_batches != 0:
            check_validation_size(data, devices.processes)
        if launch.is_global_zero:
            run.lock()
        run_trainer = RunTrainer(
            run,
            launch,
            signals,
            model,
            data,
            config,
            trainer_args,
            protocol,
            extra.distribution,
            objects.wandb,
            objects.callbacks,
            objects.loggers,
            options.watchdog_timeout,
            step,
        )
        trainer = run_trainer.fit(config_yaml, messages)
        if trainer.is_global_zero:
            methods = (extra.distribution, checked.baselines, checked.compare)
            evaluate_final_weights(trainer, model, data, run, protocol, *methods, signals.check_deadline)
            run.finish(trainer.global_step)
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log file shows lines at once, as a terminal
    entry_point.run_command(main)
