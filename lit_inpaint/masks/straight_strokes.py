"""Strokes of straight pieces in a few fixed directions, which LaMa's and DeepGIN's masks are made of."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.masks.base import python_rng

Directions = list[tuple[float, float]]


def directions(angles: int) -> tuple[Directions, Directions]:
    """Sine and cosine of both public codes' angles: 0.01 plus 0, 1, 2, ... radians.

    Returns:
        Those of the first stroke and every other one, whose angles are negative, and those of the strokes between.
    """
    back, forth = ([(sign * math.sin(0.01 + n), math.cos(0.01 + n)) for n in range(angles)] for sign in (-1, 1))
    return back, forth


def straight_strokes(
    size: tuple[int, int],
    rng: torch.Generator,
    *,
    strokes: tuple[int, int],
    steps: tuple[int, int],
    directions: tuple[Directions, Directions],
    length: tuple[int, int],
    width: tuple[int, int],
    inside: bool,
) -> NDArray[np.uint8]:
    """Draw strokes from anywhere, with a direction, a length and a brush of its own for each piece.

    All draws are whole and uniform, both ends included. A vertex is truncated to whole pixels, and the next piece starts there.

    Args:
        size: (H, W) of the canvas.
        rng: the source of chance.
        strokes: fewest and most strokes.
        steps: fewest and most pieces of a stroke.
        directions: the steps along x and y to choose from, for the first stroke and every other one, and for those between.
        length: shortest and longest piece in pixels.
        width: narrowest and widest brush in pixels, at least 1.
        inside: whether vertices are moved back into [0, W] x [0, H], or may leave the image.

    Returns:
        (H, W), 1 where a stroke passed; never empty.
    """
    chance = python_rng(rng)
    draw = chance.random  # int(draw() * n) is uniform below n, in a third of the time of randrange(n)
    height, wide = size
    (shortest, longest), (narrowest, widest) = length, width
    counts, angles = steps[1] - steps[0] + 1, len(directions[0])
    lengths, widths = longest - shortest + 1, widest - narrowest + 1
    canvas = np.zeros(size, np.uint8)
    for stroke in range(chance.randint(*strokes)):
        x, y = int(draw() * wide), int(draw() * height)
        choice = directions[stroke % 2]
        for _ in range(steps[0] + int(draw() * counts)):
            # A sine's last digit may differ between two machines. It decides about no pixel: a whole length times one of these
            # few sines is never that close to a whole number.
            along_x, along_y = choice[int(draw() * angles)]
            piece = shortest + int(draw() * lengths)
            to_x, to_y = int(x + piece * along_x), int(y + piece * along_y)
            if inside:
                to_x = 0 if to_x < 0 else wide if to_x > wide else to_x
                to_y = 0 if to_y < 0 else height if to_y > height else to_y
            cv2.line(canvas, (x, y), (to_x, to_y), 1, narrowest + int(draw() * widths))
            x, y = to_x, to_y
    return canvas
