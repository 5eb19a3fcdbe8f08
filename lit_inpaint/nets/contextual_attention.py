"""Contextual attention: compute features as weighted means of patches of the known features.

`patch_attention` is DeepFill's (Yu et al., CVPR 2018; JiahuiYu/generative_inpainting, branch v1.0.0 and v2.0.0 @3a53243).
`truncated_distance_attention` is PEPSI's (Sagong et al., CVPR 2019, section 3.2; Forty-lock/PEPSI-Fast_image_inpainting_with_
parallel_decoding_network @be4e487). Both work on a whole batch at once and without extracting patches. The dot product of two
patches is a sum of nine dot products of pixels, one for each position in the patch. So adding up diagonals of the matrix of all
pixels with all pixels compares all patches. The transposed operation blends patches. Both need a ninth of the multiplications
of extracted patches; blending DeepFill's overlapping 4x4 patches needs a quarter.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from lit_inpaint.errors import UserError

PATCH = 3
_MIN_VARIANCE = 1e-12
_MIN_DISTANCE = 1e-6
_MIN_NORM = 1e-4
_ADDED_EPSILON = 1e-4


def truncated_distance_attention(features: Tensor, known: Tensor, scale: float = 50.0, squared: bool = False) -> Tensor:
    """Keep known features, and compute the others from 3x3 patches of the known ones.

    Patches that overlap a hole are used, with zeros in the hole. The computation is in float32 or better, also under autocast:
    a distance is a small difference of large numbers.

    Args:
        features: (B, C, H, W), H and W at least 3.
        known: (B, 1, H, W), 1 = known, 0 = hole.
        scale: lambda, the factor inside the softmax.
        squared: whether distances are squared (public code) or not (paper).

    Returns:
        (B, C, H, W), float32 or better.
    """
    batch, channels, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        background = features * known.to(features.dtype)
        scores = truncated_distance_scores(features, background, squared)
        weights = torch.softmax(scale * scores, dim=-1).reshape(batch, height, width, height - 2, width - 2)
        pixels = _diagonal_sum(pad(weights, (2, 2, 2, 2, 1, 1, 1, 1))).flatten(3).flatten(1, 2)
        blend = pixels @ background.flatten(2).transpose(1, 2) / PATCH**2
        rebuilt = blend.transpose(1, 2).reshape(batch, channels, height, width)
        return torch.where(known > 0.5, features, rebuilt)


def truncated_distance_scores(foreground: Tensor, background: Tensor, squared: bool = False) -> Tensor:
    """Compute the similarity of patches: -tanh of their distance, standardized.

    Mean and (population) standard deviation are those of the distances of one foreground patch to all background patches.

    Args:
        foreground: (B, C, H, W); one patch around each pixel, with zeros outside the map.
        background: (B, C, H, W); patches inside the map only.
        squared: see `truncated_distance_attention`.

    Returns:
        (B, H W, (H - 2) (W - 2)) in (-1, 1), larger = more similar.
    """
    pixels = foreground.flatten(2).transpose(1, 2) @ background.flatten(2)
    pixels = pixels.reshape(*foreground.shape[:1], *foreground.shape[2:], *background.shape[2:])
    products = _diagonal_sum(pad(pixels, (0, 0, 0, 0, 1, 1, 1, 1))).flatten(3).flatten(1, 2)
    distance = _energy(foreground, 1).transpose(1, 2) + _energy(background, 0) - 2 * products
    if not squared:
        distance = distance.clamp_min(_MIN_DISTANCE).sqrt()  # rounding leaves a small number, also below 0, for equal patches
    variance, mean = torch.var_mean(distance, dim=-1, correction=0, keepdim=True)
    return -torch.tanh((distance - mean) * variance.clamp_min(_MIN_VARIANCE).rsqrt())


def patch_attention(
    features: Tensor,
    hole: Tensor,
    scale: float = 10.0,
    fuse: bool = True,
    align_corners: bool = True,
    add_epsilon: bool = False,
) -> Tensor:
    """Rebuild all features, known ones too, from 4x4 patches of known features.

    Patches are compared at half the resolution: 3x3 foreground patches as they are, background patches divided by their norm.
    A softmax of `scale` times the products weighs the 4x4 patches of the full resolution, at steps of 2, and the overlapping
    results are added and divided by 4. Three properties of the public code are kept:

    - Background patches with a hole pixel have logit 0 in the softmax and weight 0 after it, so the weights of a foreground
      patch add up to less than 1.
    - `fuse` adds the products of neighbors of both patches along rows, then along columns, by flat index: the last patch of a
      row is a neighbor of the first patch of the next row.
    - Pixels at the border have fewer than four patches and are divided by 4 all the same.

    The computation is in float32 or better, also under autocast. Its matrices have (H W / 4)^2 numbers for each sample.

    Args:
        features: (B, C, H, W), H and W even.
        hole: (B, 1, H / 2, W / 2), or (1, 1, H / 2, W / 2) for all samples; 1 = hole.
        scale: factor inside the softmax.
        fuse: add the products of neighbors.
        align_corners: how the features are halved, see `subsample_nearest`.
        add_epsilon: divide by sqrt(sum(w^2 + 1e-4)) instead of max(norm, 1e-4): daa233/generative-inpainting-pytorch @c6cdaea.

    Returns:
        (B, C, H, W), float32 or better.
    """
    batch, channels = features.shape[:2]
    with torch.autocast(features.device.type, enabled=False):
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        small = subsample_nearest(features, 2, align_corners)
        rows, columns = small.shape[-2:]
        energy = _energy(small, 1)
        if add_epsilon:
            norm = (energy + PATCH**2 * channels * _ADDED_EPSILON).sqrt()
        else:
            norm = energy.clamp_min(_MIN_NORM**2).sqrt()
        # One name for all large matrices, so that each is freed when the next is there.
        scores = (small.flatten(2).transpose(1, 2) @ small.flatten(2)).view(batch, rows, columns, rows, columns)
        scores = _add_shifted(scores, 1, 3, (-1, 1))
        scores = _add_shifted(scores, 2, 4, (-1, 1)).flatten(3).flatten(1, 2) / norm
        if fuse:
            scores = _add_shifted(scores, 1, 2, (-1, 1)).view(batch, rows, columns, rows, columns)
            scores = scores.permute(0, 2, 1, 4, 3).reshape(batch, rows * columns, rows * columns)
            scores = _add_shifted(scores, 1, 2, (-1, 1)).view(batch, columns, rows, columns, rows)
            scores = scores.permute(0, 2, 1, 4, 3).reshape(batch, rows * columns, rows * columns)
        valid = 1 - max_pool2d(hole.to(features.dtype), PATCH, 1, 1).flatten(2)
        scores = torch.softmax(scores * (scale * valid), dim=-1) * valid
        return _paste_overlapping(scores.view(batch, rows, columns, rows, columns), features) / 4


def require_patch_grid(height: int, width: int, stride: int) -> None:
    """Check that an image has at least one 3x3 patch at the resolution at which `patch_attention` compares patches.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        stride: pixels for each position of a patch.

    Raises:
        UserError: names the size and the smallest one.
    """
    if min(height, width) < PATCH * stride:
        raise UserError(
            f"the attention compares {PATCH}x{PATCH} patches of features with a stride of {stride} pixels: images need "
            f"at least {PATCH * stride}x{PATCH * stride} pixels, this one has {height}x{width}; enlarge it"
        )


def subsample_nearest(x: Tensor, factor: int, align_corners: bool) -> Tensor:
    """Subsample (B, C, H, W) to (B, C, H / factor, W / factor), whose sides are at least 1.

    Args:
        x: sides are multiples of `factor`.
        factor: of the reduction.
        align_corners: keep first and last pixel, as TensorFlow's nearest neighbor with aligned corners does; else take the
            first of every `factor` pixels.
    """
    if not align_corners:
        return x[..., ::factor, ::factor]
    for dim in (2, 3):
        count = x.shape[dim] // factor
        steps = max(count - 1, 1)
        positions = torch.arange(count, device=x.device)  # not a list, which would be copied to the GPU
        # position * (length - 1) / steps, rounded half up, in integers: exact, and graphs of any size can be stored
        x = x.index_select(dim, (2 * (x.shape[dim] - 1) * positions + steps) // (2 * steps))
    return x


def _paste_overlapping(weights: Tensor, background: Tensor) -> Tensor:
    """Add up weighted 4x4 patches of the background at steps of 2: a transposed convolution with the patches as kernel.

    The output pixels 2 m of a row have two patches in each direction: patch m at their second position, patch m - 1 at their
    fourth. So they are the product of the background's pixels 2 n with the weights (m, n) plus (m - 1, n - 1); the pixels
    2 m + 1 likewise with (m, n) plus (m + 1, n + 1).

    Args:
        weights: (B, h, w, h, w), of the background patch (last two) in each foreground patch.
        background: (B, C, 2 h, 2 w), zeros outside.

    Returns:
        (B, C, 2 h, 2 w).
    """
    batch, channels, height, width = background.shape
    rows, columns = height // 2, width // 2
    parts = []
    for i, vertical in enumerate((-1, 1)):
        of_rows = _add_shifted(weights, 1, 3, (vertical,))
        for j, horizontal in enumerate((-1, 1)):
            summed = _add_shifted(of_rows, 2, 4, (horizontal,)).flatten(3).flatten(1, 2)
            pixels = background[..., i::2, j::2].flatten(2)
            parts.append(pixels @ summed.transpose(1, 2))
    grid = torch.stack(parts, 2).view(batch, channels, 2, 2, rows, columns)
    return grid.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels, height, width)


def _add_shifted(x: Tensor, first: int, second: int, shifts: tuple[int, ...]) -> Tensor:
    """Add to x[.., i, .., k, ..] its elements [.., i + s, .., k + s, ..] for each shift s, 0 outside; dimensions by number."""
    if torch.is_grad_enabled() and x.requires_grad:
        return cast(Tensor, _AddShifted.apply(x, first, second, shifts))
    return _compute_add_shifted(x, first, second, shifts)


def _compute_add_shifted(x: Tensor, first: int, second: int, shifts: tuple[int, ...]) -> Tensor:
    if torch.compiler.is_exporting():
        return _add_padded(x, first, second, shifts)
    y = x.clone()
    for shift in shifts:
        target, source = y, x
        for dim in (first, second):
            length = x.shape[dim] - abs(shift)
            target = target.narrow(dim, max(-shift, 0), length)
            source = source.narrow(dim, max(shift, 0), length)
        target += source
    return y


def _add_padded(x: Tensor, first: int, second: int, shifts: tuple[int, ...]) -> Tensor:
    """Do as `_add_shifted` without writing into views, which exported graphs express by scattering."""
    y = x
    for shift in shifts:
        source, padding = x, [0] * (2 * x.ndim)
        for dim in (first, second):
            source = source.narrow(dim, max(shift, 0), x.shape[dim] - abs(shift))
            before = 2 * (x.ndim - 1 - dim)
            padding[before], padding[before + 1] = max(-shift, 0), max(shift, 0)
        y = y + pad(source, padding)
    return y


class _AddShifted(torch.autograd.Function):
    """`_add_shifted` with its transpose, the same sum with opposite shifts, as gradient: in-place sums in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, first: int, second: int, shifts: tuple[int, ...]) -> Tensor:
        ctx.arguments = (first, second, tuple(-shift for shift in shifts))
        return _compute_add_shifted(x, first, second, shifts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _compute_add_shifted(gradients[0], *ctx.arguments), None, None, None


def _energy(x: Tensor, padding: int) -> Tensor:
    """Sum the squares of each 3x3 patch of (B, C, H, W) to (B, 1, patches)."""
    squares = x.square().sum(1, keepdim=True)
    if torch.compiler.is_exporting():  # ONNX's average has no divisor, and PyTorch's exporter leaves it out without a message
        return (PATCH**2 * avg_pool2d(squares, PATCH, 1, padding)).flatten(2)
    return avg_pool2d(squares, PATCH, 1, padding, divisor_override=1).flatten(2)


def _diagonal_sum(x: Tensor) -> Tensor:
    """Sum over the nine positions in a patch: y[.., i, j, k, l] = sum of x[.., i + a, j + b, k + a, l + b], a, b = 0, 1, 2."""
    for first, second in ((1, 3), (2, 4)):
        sizes = (x.shape[first] - PATCH + 1, x.shape[second] - PATCH + 1)
        parts = [x.narrow(first, offset, sizes[0]).narrow(second, offset, sizes[1]) for offset in range(PATCH)]
        x = parts[0] + parts[1] + parts[2]
    return x
