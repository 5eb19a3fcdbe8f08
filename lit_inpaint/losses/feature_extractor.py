"""A network that a loss looks through and nobody trains, saves or counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast

from torch import Tensor, nn


class FeatureExtractor(nn.Module):
    """Holds a network that is used inside a loss only: VGG, Inception and the like.

    - Its weights never require a gradient; gradients pass through it to its input.
    - It stays in eval mode whatever `train()` is called above it.
    - It moves with its parent: device, dtype, memory format.
    - Its tensors are in none of `parameters()`, `buffers()`, `modules()`, `state_dict()`: no optimizer steps them, DDP does not
      broadcast them, `apply(init)` does not reset them, no checkpoint carries them, and one without them loads strictly.
    - `copy.deepcopy` and pickling the whole module do carry them.

    Args:
        network: taken over as it is, not copied: put into eval mode and relieved of its gradients.

    Attributes:
        network: the same.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._hidden = (network.eval().requires_grad_(False),)  # nn.Module registers modules, but not those inside a tuple

    @property
    def network(self) -> nn.Module:
        """The network held."""
        return self._hidden[0]

    def forward(self, *inputs: Tensor) -> Any:
        """What the network says of its inputs."""
        return self.network(*inputs)

    def extra_repr(self) -> str:
        """Name what cannot be seen among the children."""
        return type(self.network).__name__

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What `to`, `cuda`, `half` and the like do to every tensor."""
        cast(Any, self.network)._apply(fn, recurse)
        cast(Any, super())._apply(fn, recurse)
        return self
