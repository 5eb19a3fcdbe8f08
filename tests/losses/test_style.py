"""Style loss and Gram matrices by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import mse_loss

from lit_inpaint.losses.style import gram_matrix, style_loss


def test_by_hand() -> None:
    torch.manual_seed(0)
    features = [torch.rand(2, 3, 4, 5, dtype=torch.float64), torch.rand(2, 6, 2, 2, dtype=torch.float64)]
    targets = [torch.rand_like(x) for x in features]
    matrices = []
    for weight, x, y in zip((0.5, 2.0), features, targets, strict=True):
        b, c, h, w = x.shape
        grams = torch.zeros(2, b, c, c, dtype=torch.float64)
        for gram, z in zip(grams, (x, y), strict=True):
            for n in range(b):
                for i in range(c):
                    for j in range(c):
                        gram[n, i, j] = (z[n, i] * z[n, j]).sum() / (c * h * w)
        matrices.append((weight, grams[0], grams[1]))
    torch.testing.assert_close(gram_matrix(features[1]), matrices[1][1])
    absolute = sum(weight * float((a - b).abs().mean()) for weight, a, b in matrices)
    squares = sum(weight * float((a - b).square().mean()) for weight, a, b in matrices)
    assert float(style_loss(features, targets, (0.5, 2.0))) == pytest.approx(absolute)
    assert float(style_loss(features, targets, (0.5, 2.0), mse_loss)) == pytest.approx(squares)


def test_gram_matrix_of_half_precision_is_float32() -> None:
    feature = torch.rand(1, 4, 64, 64).half() * 100  # its squares add up beyond the range of float16
    gram = gram_matrix(feature)
    assert gram.dtype == torch.float32
    assert gram.isfinite().all()


def test_gram_matrix_ignores_autocast() -> None:
    feature = torch.rand(1, 4, 16, 16)
    expected = gram_matrix(feature)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gram_matrix(feature), expected)
