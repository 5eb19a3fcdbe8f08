"""Switch TF32 on or off: faster float32 products on NVIDIA GPUs from Ampere on, with inputs rounded to 10 bits of mantissa."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_FIRST_CAPABILITY = (8, 0)
"""Compute capability of Ampere, the first GPUs with TF32."""


def set_tf32(enabled: bool) -> None:
    """Set TF32 for matrix products and for convolutions, which have separate switches in PyTorch with different defaults."""
    torch.set_float32_matmul_precision("high" if enabled else "highest")
    torch.backends.cudnn.allow_tf32 = enabled


@contextmanager
def tf32_off() -> Iterator[None]:
    """Compute in float32 inside the block, so that scores do not depend on the GPU; restores both switches afterwards."""
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    set_tf32(False)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution


def describe_precision(precision: str, tf32: bool, capability: tuple[int, int] | None) -> str:
    """Describe the precision of training, for the launch summary.

    Args:
        precision: of the Trainer, such as "32-true".
        tf32: the setting.
        capability: compute capability of the GPU; None on CPUs.
    """
    if not tf32 or capability is None or capability < _FIRST_CAPABILITY:
        return precision
    return f"{precision}, float32 products in TF32 (--tf32 false switches it off)"
