"""Inpaint image files: `python -m lit_inpaint.inpaint --images DIR --masks DIR --output DIR`.

The network is the one that comes with the package, that of `--checkpoint FILE`, or a classical method, `--method NAME`.

From Python, this module is called like a function: `lit_inpaint.inpaint(image, mask)` is
`lit_inpaint.inpainting.inpaint_image.inpaint`.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser, whole_number
from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import require_folder_name, require_writable_folder

_EPILOG = """
White marks holes in the mask files; gray values are thresholded at one half. The mask of x.jpg is x.png or x_mask.png in the
mask folder; a single mask file applies to all images. Edge maps are x.png or x_edges.png in a folder of their own; they count
in the holes only. Images may have any size; pixels outside the holes keep their exact values. Results are PNG files with the
names, the channels and the bits of the images. They keep the ICC profile, the resolution in dpi and the EXIF data.

Of several images, one that cannot be read or filled is named and skipped; the exit status is 1 then. The same command goes on
after an interruption: results that were made from the same files, weights and options are kept.
"""


def main(argv: list[str]) -> int:
    """Inpaint all images; return the exit status: 1 if some were skipped."""
    options = _parser().parse_args(argv)
    output = Path(options.output)
    require_folder_name(options.output)
    require_writable_folder(output)
    _check_method(options)

    from lit_inpaint.data.pair_inpaint_inputs import pair_inputs
    from lit_inpaint.evaluation.baselines import ClassicalMethod
    from lit_inpaint.inpainting.inpaint_files import inpaint_files
    from lit_inpaint.inpainting.inpaint_image import make_filler, require_edges

    edges = None if options.edges is None else Path(options.edges)
    pairs = pair_inputs(Path(options.images), Path(options.masks), output, edges)
    filler = make_filler(options.checkpoint, options.strategy, options.method, options.trained_size, options.blend)
    if edges is not None:
        require_edges(filler)
    summary = inpaint_files(filler, pairs, not options.black_is_hole, options.max_hole)
    method = filler.method
    print(summary.describe(method.label if isinstance(method, ClassicalMethod) else type(method).__name__, output))
    return 1 if summary.skipped else 0


def _parser() -> CommandParser:
    parser = CommandParser("inpaint", "Fill the holes of images with a trained network, or by a classical method.", _EPILOG)
    parser.add_argument(
        "--checkpoint",
        metavar="FILE|DIR",
        help="checkpoint (.ckpt) of a run, or a model folder; default: the network of the package",
    )
    methods = "mean, telea, navier_stokes, biharmonic, patchmatch, fsr (the last two need optional packages)"
    parser.add_argument("--method", metavar="NAME", help=f"a classical method in place of a checkpoint: {methods}")
    parser.add_argument(
        "--blend", action="store_true", help="adapt the colors of filled holes to their edges (Poisson blending)"
    )
    parser.add_argument("--images", metavar="FILE|DIR", required=True, help="an image, or a folder of images")
    parser.add_argument("--masks", metavar="FILE|DIR", required=True, help="a mask, or a folder with a mask for each image")
    edges = "an edge map (white lines), or a folder with one for each image, for EdgeConnect and DeepFillV2 with guidance"
    parser.add_argument("--edges", metavar="FILE|DIR", help=edges)
    parser.add_argument("--output", metavar="DIR", required=True, help="folder for the results, not that of the inputs")
    strategies = (
        "how to fill large images: crops around the holes, wide holes coarse to fine (crop, the default), overlapping tiles "
        "(tiles), or the image at once, whatever memory that takes (whole)"
    )
    parser.add_argument("--strategy", choices=("crop", "tiles", "whole"), default="crop", help=strategies)
    size = "side of the network's training images in pixels; default: as the checkpoint records it, else 256"
    parser.add_argument("--trained_size", metavar="N", type=whole_number(8, 65536), help=size)
    parser.add_argument("--black_is_hole", action="store_true", help="black marks holes in the mask files, not white")
    parser.add_argument(
        "--max_hole",
        metavar="RATIO",
        type=_ratio,
        default=0.6,
        help="maximum mask ratio (default 0.6: higher values suggest an inverted mask)",
    )
    return parser


def _check_method(options: argparse.Namespace) -> None:
    if options.checkpoint is not None and options.method is not None:
        raise UserError("give --checkpoint FILE or --method NAME, one of the two (--help lists the methods)")
    for name in ("edges", "blend"):
        if options.method is not None and getattr(options, name):
            raise UserError(f"--{name} goes with a network; a classical method has no use for it")


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = 0.0
    if not 0 < ratio <= 1:
        raise argparse.ArgumentTypeError(f"expected a mask ratio above 0 and up to 1, got {text!r}")
    return ratio


class _InpaintModule(ModuleType):
    """A module that is called like a function, whichever way it is imported."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _function()(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function())


def _function() -> Any:
    from lit_inpaint.inpainting.inpaint_image import inpaint

    return inpaint


sys.modules[__name__].__class__ = _InpaintModule

if __name__ == "__main__":
    entry_point.run_command(main)
