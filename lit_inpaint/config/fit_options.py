"""Options of the `fit` command itself, and the experiment file that they name."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from lit_inpaint.config import load_yaml
from lit_inpaint.config.command_line import CommandParser
from lit_inpaint.errors import UserError

_EPILOG = """
Any setting of an experiment can be given on the command line, by its path in the YAML:
  --data.root DIR  --data.batch_size 16  --model.blocks 4  --model.generator_optimizer.lr 2e-4  --trainer.max_steps 1000
  --trainer.devices 2  --seed 1  --ema 0.999  --wandb.mode disabled
--print_config prints all of them with their values, and trains nothing.
"""


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the options of `fit`; the rest of the arguments overrides settings of the experiment."""
    parser = CommandParser("fit", "Train one experiment, in a run directory below runs/ or at --run_dir.", _EPILOG)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--experiment", metavar="NAME|FILE", help="a file of experiments/, by name or path")
    source.add_argument("--config", metavar="FILE", help="the config.yaml of a run directory, to repeat that run")
    parser.add_argument("--run_dir", metavar="DIR", help="use this run directory as it is (default: runs/<experiment>/<time>)")
    parser.add_argument(
        "--resume",
        choices=("auto", "must", "never"),
        default="auto",
        help="resume from the run directory's last checkpoint: if there is one (auto), or fail (must); or start anew (never)",
    )
    parser.add_argument(
        "--init_from",
        "--init-from",
        metavar="FILE",
        help="start a new run from the weights of this checkpoint, as far as names and shapes match",
    )
    parser.add_argument(
        "--watchdog_timeout",
        metavar="SECONDS",
        type=_seconds,
        default=480,
        help="end a run on several processes after so many seconds without progress, and name the process that hangs; 0: never "
        "(default: %(default)s)",
    )
    parser.add_argument("--print_config", action="store_true", help="print the complete configuration and exit")
    return parser.parse_known_args(argv)


def load(options: argparse.Namespace) -> load_yaml.Config:
    """Load the experiment that the options name, or the configuration of an earlier run.

    Raises:
        UserError: none is named, the file does not exist, or the options contradict each other.
    """
    if options.resume == "must" and options.init_from not in (None, "null"):
        raise UserError(
            "--init_from starts a new run, --resume must resumes an old one; leave --resume must out (auto resumes where "
            "there is a run), or use --config RUN/config.yaml --run_dir RUN --resume must"
        )
    if options.config is not None:
        path = Path(options.config)
        if not path.is_file():
            raise UserError(f"no configuration at {path}; a run directory holds one as config.yaml")
        return load_yaml.load_experiment(str(path))
    if options.experiment is None:
        names = ", ".join(load_yaml.experiment_names())
        raise UserError(f"name an experiment: --experiment NAME (there are {names}) or --config FILE")
    return load_yaml.load_experiment(options.experiment)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0")
    return value
