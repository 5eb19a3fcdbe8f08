"""Inpaint image files: `python -m lit_inpaint.inpaint --images DIR --masks DIR --output DIR`.

The network is the one that comes with the package, that of `--checkpoint FILE`, or a classical method, `--method NAME`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser
from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import require_writable_folder, write_output

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

    from lit_inpaint.engine.inpainter import Inpainter
    from lit_inpaint.evaluation.baselines import ClassicalMethod

_EPILOG = """
White marks holes in the mask files; gray values are thresholded at one half. The mask of x.jpg is x.png or x_mask.png in the
mask folder; a single mask file applies to all images. Edge maps are x.png or x_edges.png in a folder of their own; they count
in the holes only. Images may have any size; pixels outside the holes keep their exact values. Results are 8-bit RGB PNG files
with the names of the images. They keep the ICC profile, the resolution in dpi and the EXIF data.
"""


def main(argv: list[str]) -> int:
    """Inpaint all images; return the exit status."""
    options = _parser().parse_args(argv)
    output = Path(options.output)
    require_writable_folder(output)

    import torch

    from lit_inpaint.data.pair_inpaint_inputs import check_pairs, pair_inputs, read_edges, read_pairs
    from lit_inpaint.evaluation.baselines import ClassicalMethod, find_method
    from lit_inpaint.runs.checkpoint_file import load
    from lit_inpaint.runs.model_folder import SHIPPED
    from lit_inpaint.storage.image_decode import read_metadata

    _check_method(options)
    edges = None if options.edges is None else Path(options.edges)
    pairs = pair_inputs(Path(options.images), Path(options.masks), output, edges)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.method is not None:
        method: Inpainter | ClassicalMethod = find_method(options.method)
    else:
        method = model = load(options.checkpoint or SHIPPED).to(device)
        if edges is not None:
            model.require_edges()
        if options.blend:
            model.blending = "poisson"
    white_is_hole = not options.black_is_hole
    ratios = check_pairs(pairs, white_is_hole, options.max_hole)

    for pair, image, mask in read_pairs(pairs, white_is_hole, "inpainting"):
        try:
            result = complete(method, image, mask, device, read_edges(pair, image))
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError) and "memory" not in str(error):
                raise
            size = f"{image.shape[2]}x{image.shape[1]}"
            raise UserError(
                f"not enough memory on {device} to inpaint {pair.image}, {size} pixels; use a smaller image"
            ) from None
        with write_output(pair.output) as part:
            result.save(part, format="PNG", **read_metadata(pair.image))
    count = f"{len(pairs)} image{'s' * (len(pairs) > 1)}"
    name = method.label if isinstance(method, ClassicalMethod) else type(method).__name__
    print(f"{count} inpainted by {name}, mean mask ratio {sum(ratios) / len(ratios):.1%}, in {output}")
    return 0


def complete(
    method: Inpainter | ClassicalMethod, image: Tensor, mask: Tensor, device: torch.device, edges: Tensor | None = None
) -> Image:
    """Inpaint one image.

    Args:
        method: a paper, on `device`, or a classical method.
        image: (3, H, W) uint8.
        mask: (1, H, W) float, exactly 0 or 1, 1 = hole.
        device: device to compute on.
        edges: (1, H, W) float, 1 = edge, for papers that take edges; None: the paper's own.

    Returns:
        An RGB image whose known pixels equal those of `image` byte for byte.
    """
    from PIL import Image as Pillow

    given = None if edges is None else edges[None].to(device)
    completed = method.complete(image[None].to(device).float() / 255, mask[None].to(device), given)
    pixels = (completed[0] * 255).round().byte()  # exact for bytes: x / 255 * 255 rounds to x
    return Pillow.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


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


if __name__ == "__main__":
    entry_point.run_command(main)
