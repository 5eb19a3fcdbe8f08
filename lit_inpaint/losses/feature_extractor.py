"""Hold a network that only a loss uses: never trained, saved or counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast

from torch import Tensor, nn


class FeatureExtractor(nn.Module):
    """Hold a network that is used inside a loss only: VGG, Inception and similar ones.

    - Its weights never require a gradient; gradients pass through it to its input.
    - It stays in eval mode; `train()` of a parent has no effect on it.
    - It moves with its parent: device, dtype, memory format.
    - Its tensors are in none of `parameters()`, `buffers()`, `modules()`, `state_dict()`: no optimizer steps them, DDP does not
      broadcast them, `apply(init)` does not reset them, no checkpoint contains them, and one without them loads strictly.
    - `copy.deepcopy` and pickling the whole module include them.

    Args:
        network: used as it is, not copied; it is put into eval mode and its weights require no gradient.

    Attributes:
        network: the same.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._hidden = (network.eval().requires_grad_(False),)  # nn.Module registers modules, but not those inside a tuple

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self._hidden[0]

    def forward(self, *inputs: Tensor) -> Any:
        """Return the output of the network."""
        return self.network(*inputs)

    def extra_repr(self) -> str:
        """Name the network, which is not among the children."""
        return type(self.network).__name__

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Apply `to`, `cuda`, `half` and similar methods to the network too."""
        cast(Any, self.network)._apply(fn, recurse)
        cast(Any, super())._apply(fn, recurse)
        return self
