"""Synchronize batch norm over all processes, also on CPUs, which PyTorch's own `SyncBatchNorm` does not support.

With `--trainer.sync_batchnorm true` (the default of `experiments/defaults.yaml`), N processes with batches of B normalize as
one process with a batch of N times B would. Networks without batch norm stay as they are.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(TorchSyncBatchNorm):
    """Lightning plugin that uses PyTorch's layers on GPUs and replaces the forward of the existing layers on CPUs."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Synchronize every batch norm in `model`."""
        if not _on_cpu(model):
            return super().apply(model)
        for layer in _batch_norms(model):
            setattr(layer, "forward", MethodType(synchronized_forward, layer))  # noqa: B010  mypy forbids the plain assignment
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo `apply`."""
        if not _on_cpu(model):
            return super().revert(model)
        for layer in _batch_norms(model):
            layer.__dict__.pop("forward", None)
        return model


def synchronized_forward(layer: _BatchNorm, input: Tensor) -> Tensor:
    """Compute `layer(input)` for (B, C, …); in training with mean and variance over all processes, which must all call it."""
    if not layer.training or not torch.distributed.is_initialized():
        plain: Tensor = type(layer).forward(layer, input)
        return plain
    x = input.to(torch.promote_types(input.dtype, torch.float32))  # also under autocast, for the statistics
    reduced_dims = [dim for dim in range(x.dim()) if dim != 1]
    shape = [1, -1, *(1 for _ in reduced_dims[1:])]
    count = _sum(x.new_tensor([x.numel() / x.shape[1]]))
    mean = _sum(x.sum(reduced_dims)) / count
    centered = x - mean.view(shape)
    variance = _sum(centered.square().sum(reduced_dims)) / count  # in two passes: no difference of large numbers
    if layer.running_mean is not None and layer.running_var is not None and layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        momentum = layer.momentum if layer.momentum is not None else 1 / float(layer.num_batches_tracked)
        layer.running_mean.lerp_(mean.detach().to(layer.running_mean.dtype), momentum)
        layer.running_var.lerp_((variance.detach() * count / (count - 1)).to(layer.running_var.dtype), momentum)
    normalized = centered * (variance + layer.eps).rsqrt().view(shape)
    if layer.weight is not None and layer.bias is not None:
        normalized = normalized * layer.weight.view(shape) + layer.bias.view(shape)
    return normalized.to(input.dtype)


def _batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]


def _on_cpu(model: nn.Module) -> bool:
    return all(parameter.device.type == "cpu" for parameter in model.parameters())


def _sum(tensor: Tensor) -> Tensor:
    """Add up over all processes, gradients included."""
    total: Tensor = _Sum.apply(tensor)
    return total


class _Sum(torch.autograd.Function):
    """All-reduce whose backward is an all-reduce too: each process's input contributes to the loss of all processes."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _all_reduced(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _all_reduced(gradients[0])


def _all_reduced(tensor: Tensor) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total
