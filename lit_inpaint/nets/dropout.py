"""Dropout from random bytes, in a fifth of the time of PyTorch's Bernoulli numbers (2.15)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_BYTE = 256


class Dropout(nn.Dropout):
    """`nn.Dropout`; on a CPU, for probabilities that are multiples of 1/256, from one byte for each number.

    It draws from PyTorch's global generator, and other numbers than `nn.Dropout` does.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Any shape to the same shape."""
        if not self.training or not self._is_fast(input):
            return super().forward(input)
        words = torch.empty(-(-input.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: input.numel()] >= int(self.p * _BYTE)
        # In the order of the input's memory, whichever that is.
        factors = kept.to(input.dtype).mul_(1 / (1 - self.p)).as_strided(input.shape, input.stride())
        return input * factors

    def _is_fast(self, input: Tensor) -> bool:
        return (
            input.device.type == "cpu"
            and input.is_floating_point()
            and 0 < self.p < 1
            and (self.p * _BYTE).is_integer()
            and not self.inplace
            and not torch.compiler.is_compiling()
            and (input.is_contiguous() or (input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last)))
        )
