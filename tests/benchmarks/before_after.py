"""Make the pictures of the README: photographs of 1,000 pixels and more, before and after `lit_inpaint.inpaint`.

    python tests/benchmarks/before_after.py --raccoon face.png --output experiments

The raccoon is `scipy.datasets.face()` (1024x768, public domain), saved as a file. scikit-image installs the retina (1411x1411,
CC0, Mikael Häggström). Scratches and lettering are drawn. The straws in front of the raccoon are in the photograph; the mask
that covers them was drawn by hand: the lines of STRAWS. Prints the PSNR of all pixels, also of OpenCV's Telea, and seconds.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import skimage
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import lit_inpaint
from lit_inpaint.masks import FreeForm

STRAWS = (  # width, then x, y, x, y, …
    (13, 295, 444, 340, 428, 400, 412, 453, 402),
    (19, 453, 402, 493, 402, 557, 402, 623, 400, 690, 400, 740, 408),
    (20, 318, 469, 407, 453, 473, 435, 531, 418),
    (14, 350, 495, 453, 494),
    (12, 485, 567, 532, 533),
    (12, 461, 534, 461, 570),
    (18, 740, 420, 733, 467, 708, 518),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raccoon", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder")
    options = parser.parse_args()
    raccoon = np.asarray(Image.open(options.raccoon).convert("RGB"))
    retina = np.asarray(Image.open(Path(skimage.__file__).parent / "data" / "retina.jpg").convert("RGB"))
    scratches = FreeForm(strokes=(9, 9), width=(0.004, 0.010))(raccoon.shape[:2], torch.Generator().manual_seed(3))
    show("scratches", raccoon, scratches[0].numpy() > 0, options.output, paint=(235, 232, 225))
    show("lettering", retina, lettering(retina.shape[:2]), options.output, paint=(255, 255, 255))
    show("straws", raccoon, straws(raccoon.shape[:2]), options.output)


def lettering(size: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw the mask of three lines of text."""
    mask = Image.new("1", (size[1], size[0]))
    draw, font = ImageDraw.Draw(mask), ImageFont.load_default(size[1] // 13)
    for line in range(3):
        draw.text((size[1] // 2, size[0] * (1 + line) // 4), "RIGHT EYE, 1411 PIXELS", fill=1, font=font, anchor="mm")
    return np.asarray(mask)


def straws(size: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw the mask of the straws, with round ends."""
    mask = Image.new("1", (size[1], size[0]))
    draw = ImageDraw.Draw(mask)
    for width, *numbers in STRAWS:
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        draw.line(points, fill=1, width=width, joint="curve")
        for x, y in points:
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=1)
    return np.asarray(mask)


def show(
    name: str,
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    output: Path,
    paint: tuple[int, int, int] | None = None,
) -> None:
    """Write the photograph before and after, side by side, each 1,024 pixels wide."""
    damaged = image.copy()
    if paint is not None:
        damaged[mask] = paint
    start = time.process_time()
    completed = np.asarray(lit_inpaint.inpaint(Image.fromarray(damaged), Image.fromarray(mask)))
    seconds = time.process_time() - start
    scores = ""
    if paint is not None:  # else nobody knows what is behind
        telea = cv2.inpaint(damaged, mask.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        scores = f"{psnr(completed, image):.2f} dB (OpenCV Telea {psnr(telea, image):.2f} dB), "
    print(f"{name}: {image.shape[1]}x{image.shape[0]}, {mask.mean():.1%} missing, {scores}{seconds:.1f} s of processor time")
    height = round(1024 * image.shape[0] / image.shape[1])
    pair = Image.new("RGB", (2 * 1024 + 16, height), "white")
    for index, picture in enumerate((damaged, completed)):
        pair.paste(Image.fromarray(picture).resize((1024, height), Image.Resampling.LANCZOS), (index * 1040, 0))
    pair.save(output / f"repaired_{name}.jpg", quality=82)


def psnr(output: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    """PSNR of all pixels in dB."""
    return float(10 * np.log10(255**2 / np.square(output.astype(float) - target).mean()))


if __name__ == "__main__":
    main()
