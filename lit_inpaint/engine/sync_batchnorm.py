"""Synchronize batch norm over all processes, also on CPUs, which PyTorch's own `SyncBatchNorm` does not support.

With `--trainer.sync_batchnorm true` (the default of `experiments/defaults.yaml`), N processes with batches of B normalize as
one process with a batch of N times B would. Networks without batch norm stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.nn.functional import batch_norm
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
    output, mean, variance, count = _Normalize.apply(x, layer.weight, layer.bias, layer.eps)
    if layer.running_mean is not None and layer.running_var is not None and layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        momentum = layer.momentum if layer.momentum is not None else 1 / float(layer.num_batches_tracked)
        layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), momentum)
        layer.running_var.lerp_((variance * count / (count - 1)).to(layer.running_var.dtype), momentum)
    normalized: Tensor = output.to(input.dtype)
    return normalized


class _Normalize(torch.autograd.Function):
    """Batch norm over all processes with one all-reduce in the forward and one in the backward.

    With x̂ the normalized input, y = w x̂ + b, and averages over all samples of all processes, the gradient is
    dx = w / σ (dy - mean(dy) - x̂ mean(dy x̂)).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own = x.numel() / x.shape[1]
        own_mean, own_variance = (moment.double() for moment in torch.batch_norm_update_stats(x, None, None, 0.0))
        # In float64 the difference of squares below loses nothing of what float32 holds.
        sums = own * torch.cat([own_mean, own_variance + own_mean.square(), own_mean.new_ones(1)])
        torch.distributed.all_reduce(sums)
        count = sums[-1]
        mean, square = (sums[:-1] / count).chunk(2)
        variance = (square - mean.square()).clamp(min=0)
        mean, variance, count = mean.to(x.dtype), variance.to(x.dtype), count.to(x.dtype)
        output = batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(x, weight, bias, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        return output, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, variance, count = ctx.saved_tensors
        gradient, needed = gradients[0], ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # a gradient penalty differentiates this gradient
            return (*_differentiable_gradients(x, weight, bias, ctx.eps, gradient, needed), None)
        arguments = (gradient, x, weight, mean, variance, None, None, False, ctx.eps, (False, True, True))
        _, weight_gradient, bias_gradient = torch.ops.aten.native_batch_norm_backward(*arguments)  # sums of dy x̂ and dy
        sums = torch.cat([bias_gradient, weight_gradient]).double()
        torch.distributed.all_reduce(sums)
        mean_dy, mean_dy_x = (sums / count).to(x.dtype).chunk(2)
        inverse = (variance + ctx.eps).rsqrt()
        scale = inverse if weight is None else weight * inverse
        slope = -scale * inverse * mean_dy_x
        zero, one, shift = torch.zeros_like(mean), torch.ones_like(mean), -scale * mean_dy - slope * mean
        # The function of torch.nn.functional refuses an epsilon of 0 in some versions of PyTorch.
        input_gradient = torch.batch_norm(x, slope, shift, zero, one, False, 0.0, 0.0, False)
        input_gradient.addcmul_(gradient, scale.view(1, -1, *(1 for _ in x.shape[2:])))
        found = (input_gradient, weight_gradient, bias_gradient)
        return (*(tensor if need else None for tensor, need in zip(found, needed, strict=True)), None)


def _differentiable_gradients(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, gradient: Tensor, needed: Sequence[bool]
) -> list[Tensor | None]:
    """Compute the gradients of `_Normalize` by operations that can be differentiated again, with more all-reduces."""
    reduced_dims = [dim for dim in range(x.dim()) if dim != 1]
    shape = [1, -1, *(1 for _ in reduced_dims[1:])]
    count = _sum(x.new_tensor([x.numel() / x.shape[1]]))
    centered = x - (_sum(x.sum(reduced_dims)) / count).view(shape)
    output = centered * (_sum(centered.square().sum(reduced_dims)) / count + eps).rsqrt().view(shape)
    if weight is not None and bias is not None:
        output = output * weight.view(shape) + bias.view(shape)
    inputs = [tensor for tensor, need in zip((x, weight, bias), needed, strict=True) if need and tensor is not None]
    found = iter(torch.autograd.grad(output, inputs, gradient, create_graph=True))
    return [
        next(found) if need and tensor is not None else None for tensor, need in zip((x, weight, bias), needed, strict=True)
    ]


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
        return _sum(gradients[0])  # so that this gradient can be differentiated again


def _all_reduced(tensor: Tensor) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total
