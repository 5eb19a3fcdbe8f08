"""Repair damaged photographs with the network of the package: `python -m lit_inpaint.demo --output repaired.png`.

The photographs come with scikit-image, the damage is drawn: scratches, an inscription, missing rectangles.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser
from lit_inpaint.storage.output_files import output_file, write_output

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

_EPILOG = """
Each row shows the damaged photograph, the network's result, OpenCV's (Telea) and the original, with the PSNR of all pixels.
"""
_SEED = 3


def main(argv: list[str]) -> int:
    """Write the picture; return the exit status."""
    parser = CommandParser("demo", "Repair damaged photographs with the network of the package.", _EPILOG)
    parser.add_argument("--output", metavar="FILE.png", default="runs/demo/repaired.png", help="default: %(default)s")
    output = output_file(parser.parse_args(argv).output, ".png")

    import time

    import torch

    from lit_inpaint.data import DemoPhotos, read_image
    from lit_inpaint.evaluation.baselines import telea
    from lit_inpaint.masks import Boxes, FreeForm, Lettering, MaskSource
    from lit_inpaint.runs.checkpoint_file import load
    from lit_inpaint.types import composite
    from lit_inpaint.visualization.grids import overlay_mask
    from lit_inpaint.visualization.side_by_side import side_by_side

    damage: dict[str, MaskSource] = {
        "scratches": FreeForm(strokes=(7, 7), width=(0.006, 0.015)),
        "an inscription": Lettering(lines=(3, 3), characters=(12, 18), height=(0.1, 0.14), angle=12),
        "rectangles": Boxes(count=(4, 4), side=(0.08, 0.14)),
    }
    splits = DemoPhotos().splits()
    paths = [splits.val.location(0), splits.val.location(1), splits.train.location(0)]
    model, rows = load(), []
    for number, ((name, source), path) in enumerate(zip(damage.items(), paths, strict=True)):
        image = read_image(path)[None].float() / 255
        mask = source((image.shape[2], image.shape[3]), torch.Generator().manual_seed(_SEED + number))[None]
        start = time.perf_counter()
        repaired = model.complete(image, mask)
        seconds = time.perf_counter() - start
        classical = composite(image, telea(image, mask), mask)
        scores = [_psnr(each, image) for each in (repaired, classical)]
        rows.append(
            [
                (f"damaged: {name}", _picture(overlay_mask(image, mask))),
                (f"lit_inpaint, {scores[0]:.1f} dB", _picture(repaired)),
                (f"OpenCV Telea, {scores[1]:.1f} dB", _picture(classical)),
                ("original", _picture(image)),
            ]
        )
        size = f"{image.shape[3]}x{image.shape[2]}"
        print(f"{Path(path).name}, {size}, {name}: {scores[0]:.2f} dB in {seconds:.1f} s; OpenCV Telea {scores[1]:.2f} dB")
    output.parent.mkdir(parents=True, exist_ok=True)
    with write_output(output) as part:
        side_by_side(rows).save(part, format="PNG")
    print(f"Picture in {output}")
    return 0


def _psnr(output: Tensor, target: Tensor) -> float:
    """PSNR of all pixels in dB, of values rounded to 8 bits."""
    difference = (output.clamp(0, 1) * 255).round() - (target * 255).round()
    return float(10 * (255**2 / difference.double().square().mean()).log10())


def _picture(image: Tensor) -> Image.Image:
    from PIL import Image as Pillow

    pixels = (image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous()
    return Pillow.fromarray(pixels.numpy())


if __name__ == "__main__":
    entry_point.run_command(main)
