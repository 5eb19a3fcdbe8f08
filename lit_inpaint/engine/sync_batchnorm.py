"""Batch norm over the samples of all processes, also on CPUs, where PyTorch's own `SyncBatchNorm` refuses to run.

`--trainer.sync_batchnorm true` (the default of `experiments/defaults.yaml`) makes N processes with batches of B normalise as
one process with a batch of N times B would; networks without batch norm stay as they are.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(TorchSyncBatchNorm):
    """Lightning plugin: PyTorch's layers on GPUs, on CPUs another forward for the layers that are there."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Let every batch norm below `model` see all processes."""
        if not _on_cpu(model):
            return super().apply(model)
        for layer in _layers(model):
            setattr(layer, "forward", MethodType(shared_forward, layer))  # noqa: B010  mypy forbids the plain assignment
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo `apply`."""
        if not _on_cpu(model):
            return super().revert(model)
        for layer in _layers(model):
            layer.__dict__.pop("forward", None)
        return model


def shared_forward(layer: _BatchNorm, input: Tensor) -> Tensor:
    """`layer(input)` for (B, C, …), in training with the mean and variance over all processes, which must call it in step."""
    if not layer.training or not torch.distributed.is_initialized():
        plain: Tensor = type(layer).forward(layer, input)
        return plain
    x = input.to(torch.promote_types(input.dtype, torch.float32))  # statistics need the precision, whatever autocast chose
    others = [dim for dim in range(x.dim()) if dim != 1]
    shape = [1, -1, *(1 for _ in others[1:])]
    count = _sum(x.new_tensor([x.numel() / x.shape[1]]))
    mean = _sum(x.sum(others)) / count
    centered = x - mean.view(shape)
    variance = _sum(centered.square().sum(others)) / count  # in two passes: no difference of large numbers
    if layer.running_mean is not None and layer.running_var is not None and layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        share = layer.momentum if layer.momentum is not None else 1 / float(layer.num_batches_tracked)
        layer.running_mean.lerp_(mean.detach().to(layer.running_mean.dtype), share)
        layer.running_var.lerp_((variance.detach() * count / (count - 1)).to(layer.running_var.dtype), share)
    normal = centered * (variance + layer.eps).rsqrt().view(shape)
    if layer.weight is not None and layer.bias is not None:
        normal = normal * layer.weight.view(shape) + layer.bias.view(shape)
    return normal.to(input.dtype)


def _layers(model: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]


def _on_cpu(model: nn.Module) -> bool:
    return all(parameter.device.type == "cpu" for parameter in model.parameters())


def _sum(tensor: Tensor) -> Tensor:
    """Over all processes, gradients included."""
    total: Tensor = _Sum.apply(tensor)
    return total


class _Sum(torch.autograd.Function):
    """What a process adds reaches all, so its gradient is the sum of theirs."""

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
