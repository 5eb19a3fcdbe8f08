"""Train: `python -m lit_inpaint.fit --experiment lpi_demo`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from lit_inpaint import cli, configuration
from lit_inpaint.arguments import VerbParser
from lit_inpaint.run_folder import RunFolder, choose_run
from lit_inpaint.types import UserError

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.loggers import Logger

    from lit_inpaint.callbacks import Wandb
    from lit_inpaint.data import InpaintingData
    from lit_inpaint.engine import Inpainter

_CHOSEN = "LIT_INPAINT_RUN_DIR"
_EPILOG = """
Any setting of an experiment can be given on the command line, by its place in the YAML:
  --data.root DIR  --data.batch_size 16  --model.blocks 4  --model.generator_optimizer.lr 2e-4  --trainer.max_steps 1000
  --trainer.devices 2  --seed 1  --ema 0.999  --wandb.mode disabled
--print_config shows all of them with their values, and trains nothing.
"""


def main(argv: list[str]) -> int:
    """Train one run to its end, or go on with it; returns the exit status."""
    options, rest = _parser().parse_known_args(argv)
    config = configuration.override(_start(options), rest)
    if options.init_from is not None:
        config["init_from"] = None if options.init_from == "null" else options.init_from
    checked = configuration.check(config)
    if options.print_config:
        print(configuration.dump(checked), end="")
        return 0
    _preflight(checked.trainer)
    return _train(options, checked)


def _parser() -> VerbParser:
    parser = VerbParser("fit", "Train one experiment. A run folder is made below runs/, or where --run_dir says.", _EPILOG)
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
    parser.add_argument("--print_config", action="store_true", help="print the complete configuration and stop")
    return parser


def _start(options: argparse.Namespace) -> configuration.Config:
    if options.resume == "must" and options.init_from not in (None, "null"):
        raise UserError(
            "--init_from starts a new run, --resume must goes on with an old one; leave --resume must out (auto goes on where "
            "there is a run), or say --config RUN/config.yaml --run_dir RUN --resume must"
        )
    if options.config is not None:
        path = Path(options.config)
        if not path.is_file():
            raise UserError(f"no configuration at {path}; a run folder holds one as config.yaml")
        return configuration.load_experiment(str(path))
    if options.experiment is None:
        folder = configuration.experiments_folder()
        names = ", ".join(sorted(path.stem for path in folder.glob("*.yaml") if path.stem != "defaults")) or "none found"
        raise UserError(f"name an experiment: --experiment NAME (in {folder}: {names}) or --config FILE")
    return configuration.load_experiment(options.experiment)


def _preflight(trainer: Namespace) -> None:
    """Refuse devices that are not there; unasked, Lightning would start as many CPU processes instead."""
    import torch

    if trainer.max_steps == 0 or trainer.max_epochs == 0:
        raise UserError("trainer.max_steps or max_epochs is 0, so nothing would be trained; -1 is for no limit")
    if trainer.val_check_interval == 0:
        raise UserError("trainer.val_check_interval is 0; for no validation say --trainer.limit_val_batches 0")
    if trainer.accelerator not in ("auto", "gpu", "cuda"):
        return
    wanted = trainer.devices
    listed = wanted.split(",") if isinstance(wanted, str) and "," in wanted else wanted
    count = len(listed) if isinstance(listed, list) else int(listed) if str(listed).isdigit() else 1
    there = torch.cuda.device_count()
    if there == 0 and (trainer.accelerator != "auto" or count > 1):
        raise UserError(
            f"this machine has no GPU that PyTorch can use, but --trainer.accelerator {trainer.accelerator} --trainer.devices "
            f"{wanted} asks for that; leave both out, or say --trainer.accelerator cpu --trainer.devices {count}"
        )
    if there and count > there:
        raise UserError(f"--trainer.devices {wanted}: this machine has {there} GPU{'s' * (there > 1)}; ask for at most {there}")


def _train(options: argparse.Namespace, checked: Namespace) -> int:
    import torch
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from lit_inpaint.checkpoint import read_checkpoint
    from lit_inpaint.closing import close
    from lit_inpaint.initialisation import initialise

    cli.quieten()
    cli.keep_freed_memory()
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs that have it; the CPU computes as before
    config = yaml.safe_load(configuration.dump(checked))
    chosen = os.environ.get(_CHOSEN)
    rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", "0"))))
    run, going_on = choose_run(checked.experiment, chosen or options.run_dir, options.resume, config, first=rank == 0)
    content = read_checkpoint(run.last) if going_on else None
    if content is not None:
        _same_paper(content, checked.model.class_path, run)
    if run.complete(config["trainer"]):
        print(f"{run.path} is complete ({run.finished_steps} steps); raise --trainer.max_steps to train on")
        return 0

    torch.manual_seed(checked.seed)  # the weights' initialisation
    objects = configuration.build(checked)
    model, data = cast("Inpainter", objects.model), cast("InpaintingData", objects.data)
    model.seed = checked.seed
    # Before anything copies or wraps the weights. A run that goes on has its own; the file may be gone by then.
    news = initialise(model, checked.init_from) if checked.init_from is not None and content is None else []
    data.prepare_data()
    data.setup("fit")  # before the run folder: a missing image folder leaves nothing behind
    try:
        if rank == 0:
            run.lock()
        trainer = _fit(model, data, run, checked, config, objects.wandb, content, news)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # the first process closes the run alone
        if trainer.is_global_zero:
            close(trainer, model, data, run, checked.baselines)
            run.finish(trainer.global_step)
    except MisconfigurationException as error:  # Lightning's word for settings that do not fit together
        run.discard()
        raise UserError(f"the trainer refuses its settings: {error}") from error
    except UserError:
        run.discard()
        raise
    finally:
        run.unlock()
    return 0


def _same_paper(content: dict[str, Any], class_path: str, run: RunFolder) -> None:
    paper = content["lit_inpaint"]["paper"].rpartition(".")[2]
    if paper != class_path.rpartition(".")[2]:
        raise UserError(f"{run.last} is of {paper}, not of {class_path.rpartition('.')[2]}; name another --run_dir")


def _fit(
    model: Inpainter,
    data: InpaintingData,
    run: RunFolder,
    checked: Namespace,
    config: configuration.Config,
    wandb: Wandb,
    content: dict[str, Any] | None,
    news: Sequence[str],
) -> Trainer:
    """Everything between an opened and a closed run; `content` is the checkpoint to go on from, `news` lines to print."""
    from lit_inpaint import callbacks
    from lit_inpaint.training.distributed import ending_together, settle_strategy

    step = content["global_step"] if content is not None else None
    dashboard = wandb.logger(run.path, name=f"{checked.experiment}/{run.path.name}", config=config)
    failed = True
    try:
        csv = callbacks.CSVLog(run.metrics)
        checkpoint = callbacks.RunCheckpoint(run.checkpoints, checked.save_every)
        interruption = callbacks.Interruption(checkpoint)
        loggers = [csv, *([dashboard] if dashboard is not None else [])]
        trainer = _trainer(run, checked, config, loggers, [interruption, checkpoint])
        settle_strategy(trainer.strategy, model.stages(), model.discriminator is not None)  # one complaint, not one per process
        if trainer.is_global_zero:
            run.open(configuration.dump(checked))
            csv.rewind(step if step is not None else -1)
            print(data.describe())
            print(f"Run folder: {run.path}" + (f", going on at step {step}" if step is not None else ""))
            print(*news, sep="\n", end="\n" if news else "")
        with interruption.listening(), _known_to_children(run.path, trainer.world_size), ending_together(trainer):
            trainer.fit(model, data, ckpt_path=str(run.last) if content is not None else None, weights_only=True)
            if checkpoint.validation_due:  # killed in the validation after the last batch: there was nothing left to fit
                trainer.validate(model, data, verbose=False)
        failed = False
    finally:
        callbacks.finish(dashboard, failed)
    return trainer


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
    run: RunFolder,
    checked: Namespace,
    config: configuration.Config,
    loggers: list[Logger],
    last_callbacks: list[Callback],
) -> Trainer:
    from lightning.pytorch import Trainer

    from lit_inpaint import callbacks
    from lit_inpaint.training.sync_batch_norm import SyncBatchNorm

    given = checked.trainer.as_dict()
    sync = [SyncBatchNorm()] if given.pop("sync_batchnorm") else []
    try:
        return Trainer(
            **given,
            default_root_dir=run.path,
            logger=loggers,
            plugins=[callbacks.AtomicCheckpointIO(), *sync],
            use_distributed_sampler=False,  # ours counts each evaluation sample once and shares the training stream out
            # The order matters: the average is swapped in before anything measures or draws, and out before anything saves.
            callbacks=[
                *([callbacks.GeneratorEMA(checked.ema)] if checked.ema is not None else []),
                callbacks.Quality(),
                callbacks.SampleGrids(run.samples, checked.sample_rows),
                callbacks.TrainingLog(),
                callbacks.NaNGuard(run.nan),
                callbacks.Provenance(config),
                *([callbacks.RunProgress()] if checked.trainer.enable_progress_bar is not False else []),
                *last_callbacks,
            ],
        )
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"the trainer refuses its settings: {error}") from error


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log file shows what a terminal would
    cli.run_verb(main)
