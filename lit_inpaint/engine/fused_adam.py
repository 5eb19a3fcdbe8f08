"""Let Adam and AdamW update all weights in one kernel on GPUs.

PyTorch's default there starts a kernel for each operation of the update, and the host computes a bias correction for each
weight. Small images train no faster than the host starts kernels. On CPUs PyTorch's default stays.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch


def use_fused_adam(optimizers: Iterable[torch.optim.Optimizer], fused: bool | None = None) -> None:
    """Switch the fused kernel of Adam and AdamW on or off; others stay. Call after a checkpoint's states are loaded.

    A checkpoint from another kind of device brings its own choice, and step counters on its own device; both are replaced.

    Args:
        optimizers: of the run.
        fused: None: where all weights of a group are on a CUDA device.
    """
    for optimizer in optimizers:
        if not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
            continue
        for group in optimizer.param_groups:
            on = all(weight.device.type == "cuda" for weight in group["params"]) if fused is None else fused
            group["fused"] = True if on else None
            for weight in group["params"]:
                state = optimizer.state.get(weight, {})
                if "step" in state:
                    step = state["step"]
                    state["step"] = step.to(weight.device, torch.float32) if on else step.cpu()
