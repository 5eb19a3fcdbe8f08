"""LaMa's irregular strokes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource, require_range
from lit_inpaint.masks.straight_strokes import directions, straight_strokes


@dataclass(frozen=True)
class LamaIrregular(NumpyMaskSource):
    """Strokes of straight pieces inside the image, each with a brush of its own (LaMa, advimman/lama@786f593).

    The defaults are those of LaMa's training at 256x256: pieces of 10-209 pixels, brushes of 5-104, and 46 % of the image
    lost. All lengths scale with the shorter side. The public options mean something else than they say: of `max_times: 5`
    there are up to 6 strokes, since its wrapper adds one and the end is then included; `max_len: 200` is a length of 10 to
    209, `max_width: 100` a brush of 5 to 104 pixels. Here both ends are what is drawn. `Lama` has the complete sets, with
    boxes.

    Args:
        strokes: fewest and most strokes.
        steps: fewest and most straight pieces of a stroke.
        length: shortest and longest piece, as shares of the shorter side.
        width: narrowest and widest brush, as shares of the shorter side, at least 1 pixel.
        angles: how many angles a piece may have: 0.01 plus 0, 1, 2, ... radians, mirrored in every other stroke.
    """

    strokes: tuple[int, int] = (1, 6)
    steps: tuple[int, int] = (1, 5)
    length: tuple[float, float] = (10 / 256, 209 / 256)
    width: tuple[float, float] = (5 / 256, 104 / 256)
    angles: int = 4

    def __post_init__(self) -> None:
        require_range("LamaIrregular.strokes", self.strokes, least=1)
        require_range("LamaIrregular.steps", self.steps, least=1)
        require_range("LamaIrregular.length", self.length, least=0)
        require_range("LamaIrregular.width", self.width, least=0, most=1)
        if self.angles < 1:
            raise UserError(f"LamaIrregular.angles is {self.angles}; it takes at least 1")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """One mask (H, W), 1 = hole, never empty."""
        side = min(size)
        shortest, longest = (round(share * side) for share in self.length)
        narrowest, widest = (max(1, round(share * side)) for share in self.width)
        return straight_strokes(
            size,
            rng,
            strokes=self.strokes,
            steps=self.steps,
            directions=directions(self.angles),
            length=(shortest, longest),
            width=(narrowest, widest),
            inside=True,
        )
