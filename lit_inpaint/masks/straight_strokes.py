"""Strokes of straight segments in a few fixed directions, shared by LaMa's and DeepGIN's masks."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.masks.base import python_rng

Directions = list[tuple[float, float]]


def directions(angles: int) -> tuple[Directions, Directions]:
    """Sine and cosine of the angles of both public codes: 0.01 plus 0, 1, 2, ... radians.

    Returns:
        Those of the first stroke and every other one, whose angles are negative; and those of the strokes between.
    """
    negative, positive = ([(sign * math.sin(0.01 + n), math.cos(0.01 + n)) for n in range(angles)] for sign in (-1, 1))
    return negative, positive


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
    """Draw strokes from uniform positions; each segment has its own direction, length and width.

    All draws are uniform integers, with both ends included. A vertex is truncated to whole pixels; the next segment starts
    there.

    Args:
        size: (H, W) of the mask.
        rng: the source of randomness.
        strokes: min and max number of strokes.
        steps: min and max number of segments of a stroke.
        directions: steps along x and y to choose from, for the first stroke and every other one, and for the strokes between.
        length: min and max length of a segment in pixels.
        width: min and max width of a segment in pixels, at least 1.
        inside: clamp vertices to [0, W] x [0, H]; otherwise they may leave the image.

    Returns:
        (H, W), 1 on the strokes; never empty.
    """
    py_rng = python_rng(rng)
    draw = py_rng.random  # int(draw() * n) is uniform below n, in a third of the time of randrange(n)
    image_height, image_width = size
    (min_length, max_length), (min_width, max_width) = length, width
    num_steps, num_angles = steps[1] - steps[0] + 1, len(directions[0])
    num_lengths, num_widths = max_length - min_length + 1, max_width - min_width + 1
    mask = np.zeros(size, np.uint8)
    for stroke in range(py_rng.randint(*strokes)):
        x, y = int(draw() * image_width), int(draw() * image_height)
        choice = directions[stroke % 2]
        for _ in range(steps[0] + int(draw() * num_steps)):
            # A sine's last digit may differ between two machines. It decides no pixel: a whole length times one of these few
            # sines is never that close to a whole number.
            along_x, along_y = choice[int(draw() * num_angles)]
            segment = min_length + int(draw() * num_lengths)
            to_x, to_y = int(x + segment * along_x), int(y + segment * along_y)
            if inside:
                to_x = 0 if to_x < 0 else image_width if to_x > image_width else to_x
                to_y = 0 if to_y < 0 else image_height if to_y > image_height else to_y
            cv2.line(mask, (x, y), (to_x, to_y), 1, min_width + int(draw() * num_widths))
            x, y = to_x, to_y
    return mask
