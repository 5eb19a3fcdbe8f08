"""Convert weights of other programs: `python -m lit_inpaint.convert FILE --experiment lpi_demo --output lpi.ckpt`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml

from lit_inpaint.config import check_settings, entry_point, load_yaml
from lit_inpaint.config.command_line import CommandParser
from lit_inpaint.errors import UserError
from lit_inpaint.runs.trusted_classes import trust
from lit_inpaint.storage.output_files import require_writable_folder

_EPILOG = """
FILE holds a state dict (.pth, .safetensors), or a checkpoint with one inside. Prefixes such as module. or generator. are
removed. The names of weights are those of the paper here, or of its public code. The paper and its arguments are those of
--experiment, or given by their YAML paths: --model.class_path lit_inpaint.papers.LaMa --model.blocks 18

The result is a checkpoint for evaluate, inpaint, cost and fit --init_from. With --experiment it also records that experiment's
data, which evaluate then uses.
"""


def main(argv: list[str]) -> int:
    """Convert one file; returns the exit status."""
    parser = CommandParser("convert", "Turn weights of other programs into a checkpoint.", _EPILOG)
    parser.add_argument("file", metavar="FILE", help="weights of the generator, or of all networks")
    parser.add_argument("--discriminator", metavar="FILE", help="weights of the public code's discriminator")
    parser.add_argument("--experiment", metavar="NAME|FILE", help="the paper, its arguments and the data")
    parser.add_argument("--output", metavar="FILE.ckpt", required=True, help="checkpoint to write")
    options, overrides = parser.parse_known_args(argv)
    output = Path(options.output).expanduser()
    if output.suffix != ".ckpt":
        raise UserError(f"--output {output} must end with .ckpt")
    require_writable_folder(output.parent)
    if wrong := [word for word in overrides if word.startswith("-") and not word.startswith("--model.")]:
        raise UserError(f"unknown option {wrong[0]} (--help lists all options)")
    config = None if options.experiment is None else load_yaml.load_experiment(options.experiment)
    if config is None and not any(word.startswith("--model.class_path") for word in overrides):
        raise UserError("name the paper: --experiment NAME, or --model.class_path lit_inpaint.papers.LaMa")

    import torch
    from jsonargparse import Namespace

    from lit_inpaint.engine.inpainter import Inpainter
    from lit_inpaint.runs.convert_weights import convert, write_checkpoint

    entry_point.silence_warnings()
    placeholder = {"data": {"class_path": "lit_inpaint.data.EvaluationFolder"}}  # a configuration is checked as a whole
    checked = check_settings.check(load_yaml.override(config or placeholder, overrides))
    recorded: dict[str, Any] = yaml.safe_load(check_settings.dump(checked))
    trust(recorded)
    torch.manual_seed(checked.seed)  # for networks that the file does not hold
    model = cast(Inpainter, check_settings.build(cast(Any, Namespace)(model=checked.model)).model)
    discriminator = None if options.discriminator is None else Path(options.discriminator).expanduser()
    done = convert(model, Path(options.file).expanduser(), discriminator)
    write_checkpoint(model, output, None if config is None else recorded, done.step)
    under = f" under {done.prefix}" if done.prefix else ""
    print(f"{options.file}: {done.used} tensors{under} are the weights of {type(model).__name__} ({done.kind})")
    if done.dropped:
        print(f"  not needed: {len(done.dropped)}, {', '.join(done.dropped[:3])}{' …' * (len(done.dropped) > 3)}")
    if done.kind != "all networks" and discriminator is None and model.discriminator is not None:
        print("  the discriminator has initial weights")
    print(f"Checkpoint in {output}")
    return 0


if __name__ == "__main__":
    entry_point.run_command(main)
