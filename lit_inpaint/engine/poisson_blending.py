"""Blend completed holes into their images: keep the gradients of the prediction, and the colors at the edge of the hole."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.linalg import cg
from torch import Tensor


def poisson_blend(image: Tensor, prediction: Tensor, mask: Tensor) -> Tensor:
    """Solve the Poisson equation in the holes (Perez et al., Poisson Image Editing, 2003, eq. 7 to 10).

    The result has the prediction's differences between neighbors in the hole, and the image's values around it. So a prediction
    that is wrong by a constant becomes right. At the border of the image nothing is prescribed. A hole without known neighbors
    keeps the prediction. Unlike OpenCV's `seamlessClone`, this works for holes of any shape, also at the border.

    The correction is the prediction's error around the hole. That gained 0.2 to 1.9 dB in holes for GLCIC, LaMa, PConv and
    DeepFill v2 (8 photographs at 64 pixels, three kinds of masks), and lost up to 2.2 dB for WaveMix, whose known pixels are
    arbitrary. The step across the border in its place gained up to 3.9 dB there, but up to 0.2 dB less elsewhere.

    Args:
        image: (B, 3, H, W) in [0, 1]; what its holes hold is ignored.
        prediction: (B, 3, H, W).
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B, 3, H, W): the prediction, corrected in the holes; not clamped.
    """
    difference = torch.where(mask > 0.5, 0, image - prediction).double().cpu().numpy()
    holes = (mask[:, 0] > 0.5).cpu().numpy()
    corrections = np.stack([_fill_smoothly(*pair) for pair in zip(difference, holes, strict=True)])
    return torch.where(mask > 0.5, prediction + torch.from_numpy(corrections).to(prediction), prediction)


def _fill_smoothly(values: NDArray[np.float64], hole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Solve the Laplace equation in the hole (H, W) of `values` (C, H, W), which are its boundary conditions elsewhere."""
    count = int(hole.sum())
    number = np.full(hole.shape, -1)
    number[hole] = np.arange(count)
    diagonal, right = np.zeros(count), np.zeros((len(values), count))
    rows, columns = [np.arange(count)], [np.arange(count)]
    for axis in (0, 1):
        for a, b in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):  # every pair in both directions
            here, there = ((a, slice(None)), (b, slice(None))) if axis == 0 else ((slice(None), a), (slice(None), b))
            inside, known = hole[here], ~hole[there]
            np.add.at(diagonal, number[here][inside], 1)
            edge = inside & known
            for channel in range(len(values)):
                np.add.at(right[channel], number[here][edge], values[channel][there][edge])
            both = inside & ~known
            rows.append(number[here][both])
            columns.append(number[there][both])
    pairs = sum(len(part) for part in rows[1:])
    entries = np.concatenate([diagonal, np.full(pairs, -1.0)])
    matrix = coo_array((entries, (np.concatenate(rows), np.concatenate(columns))), shape=(count, count)).tocsr()
    filled = values.copy()
    for channel in range(len(values)):
        if right[channel].any():
            filled[channel][hole] = cg(matrix, right[channel], rtol=1e-6, maxiter=10 * sum(hole.shape))[0]
    return filled
