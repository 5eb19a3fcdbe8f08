"""Mask sets of LaMa and WaveMix, for training and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lit_inpaint.errors import UserError
from lit_inpaint.masks.base import NumpyMaskSource
from lit_inpaint.masks.boxes import Boxes
from lit_inpaint.masks.irregular_strokes import IrregularStrokes
from lit_inpaint.masks.mixture import Mixture

LamaSet = Literal[
    "train",
    "train_small",
    "thin",
    "medium",
    "thick",
    "thin_512",
    "medium_512",
    "thick_512",
    "wavemix_stl10",
    "wavemix_224",
]

_MAX_DRAWS = 1000


@dataclass(frozen=True)
class LamaMasks(NumpyMaskSource):
    """A mask set of LaMa (advimman/lama@786f593) or WaveMix (97b502f): each mask consists of irregular strokes or of boxes.

    | set | strokes: number, length, width | boxes: frequency, number, side, margin | mean mask ratio |
    |---|---|---|---|
    | `train` | 1-6, 10-209, 5-104 | half, 1-4, 30-150, 10 | 35 % |
    | `train_small` | 4-13, 10-89, 5-44 | half, 1, 30-128, 0 | 23 % |
    | `thin` | 4-51, 10-49, 5-14 | never | 29 % |
    | `medium` | 4-6, 10-109, 5-54 | 3 of 13, 1-5, 10-50, 0 | 24 % |
    | `thick` | 1-6, 10-209, 5-104 | 3 of 13, 1-3, 30-150, 10 | 27 % |
    | `thin_512` | 4-71, 10-109, 5-24 | never | 28 % |
    | `medium_512` | 4-11, 10-209, 5-104 | 3 of 13, 1-5, 30-150, 0 | 27 % |
    | `thick_512` | 1-6, 10-459, 5-254 | 3 of 13, 1-4, 30-300, 10 | 27 % |
    | `wavemix_stl10` | 1-6, 10-59, 5-34 | half, 0-4, 15-30, 10 | 26 % |
    | `wavemix_224` | 4-11, 10-44, 5-34 | half, 2-5, 30-75, 0 | 20 % |

    Lengths are pixels at a size of 256, for names that end in 512 or 224 at that size, and for STL-10 at 96; they scale with
    the image. A stroke has 1-5 segments. The test sets, `thin` to `thick_512`, reject masks with a ratio above 50 %. Not
    included: the public code crops squares of test images around a mask's hole. As in the public code, 10 % of the masks of
    `wavemix_stl10` are empty, since it may draw no box; `MaskRatio` around it excludes them. Masks of all other sets have a
    hole.

    Args:
        kind: name of the set.
    """

    kind: LamaSet = "train"

    def __post_init__(self) -> None:
        if self.kind not in _SETS:
            raise UserError(f"LamaMasks.kind is {self.kind!r}; expected one of {', '.join(_SETS)}")

    def sample_uint8(self, size: tuple[int, int], rng: torch.Generator) -> NDArray[np.uint8]:
        """Draw one mask (H, W), 1 = hole.

        Raises:
            UserError: 1,000 masks of a test set exceed a mask ratio of 50 %, which happens in very small or narrow images.
        """
        mask_set = _SETS[self.kind]
        for _ in range(_MAX_DRAWS):
            mask = mask_set.source.sample_uint8(size, rng)
            if np.count_nonzero(mask) <= mask_set.max_ratio * mask.size:
                return mask
        raise UserError(
            f"LamaMasks({self.kind!r}) finds no mask with a ratio up to 50 % for a {size[0]}x{size[1]} image; enlarge it"
        )


class _Set(NamedTuple):
    source: Mixture
    max_ratio: float  # masks with a larger ratio are rejected


def _set(
    side: int,
    strokes: tuple[int, int],
    length: int,
    width: int,
    boxes: tuple[float, tuple[int, int], tuple[int, int], int] | None,
    max_ratio: float = 1.0,
) -> _Set:
    """Build a set from pixels at `side`: max length and width of segments; weight, number, side and margin of the boxes."""
    irregular = IrregularStrokes(strokes=strokes, length=(10 / side, length / side), width=(5 / side, width / side))
    if boxes is None:
        return _Set(Mixture((irregular,)), max_ratio)
    weight, count, (min_side, max_side), margin = boxes
    rectangles = Boxes(count=count, side=(min_side / side, max_side / side), margin=margin / side)
    return _Set(Mixture((irregular, rectangles), (1.0, weight)), max_ratio)


_SETS: dict[str, _Set] = {
    "train": _set(256, (1, 6), 209, 104, (1.0, (1, 4), (30, 150), 10)),
    "train_small": _set(256, (4, 13), 89, 44, (1.0, (1, 1), (30, 128), 0)),
    "thin": _set(256, (4, 51), 49, 14, None, max_ratio=0.5),
    "medium": _set(256, (4, 6), 109, 54, (0.3, (1, 5), (10, 50), 0), max_ratio=0.5),
    "thick": _set(256, (1, 6), 209, 104, (0.3, (1, 3), (30, 150), 10), max_ratio=0.5),
    "thin_512": _set(512, (4, 71), 109, 24, None, max_ratio=0.5),
    "medium_512": _set(512, (4, 11), 209, 104, (0.3, (1, 5), (30, 150), 0), max_ratio=0.5),
    "thick_512": _set(512, (1, 6), 459, 254, (0.3, (1, 4), (30, 300), 10), max_ratio=0.5),
    "wavemix_stl10": _set(96, (1, 6), 59, 34, (1.0, (0, 4), (15, 30), 10)),
    "wavemix_224": _set(224, (4, 11), 44, 34, (1.0, (2, 5), (30, 75), 0)),
}
