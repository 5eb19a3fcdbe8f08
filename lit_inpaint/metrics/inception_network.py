"""The Inception-v3 that FID is defined by: TensorFlow's of 2015, its weights as pytorch-fid (Seitzer 2020) published them."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lit_inpaint.errors import UserError
from lit_inpaint.metrics.inception_features import Features
from lit_inpaint.storage.pretrained_weights import INCEPTION

InceptionWeights = Literal["imagenet", "random"]

_SIDE = 299  # pixels
_CLASSES = 1008
_SEED = 0


class Inception(Features):
    """Features of Inception-v3 before its classifier, 2048 for each image.

    Images are resized to 299x299 (bilinear, no antialiasing) and scaled to [-1, 1] inside, as pytorch-fid does; that is part of
    FID's definition. The network differs from torchvision's in its pooling: averages do not count the padding, and the last
    block takes maxima.

    Args:
        weights: "imagenet" reads pytorch-fid's file (see `lit_inpaint.storage.pretrained_weights`). "random" is He's initialisation (normal,
            fan-in) from a fixed seed: no published number, but one that runs anywhere and says so in the names of measures.
    """

    dimensions = 2048

    def __init__(self, weights: InceptionWeights = "imagenet") -> None:
        super().__init__()
        self.weights = weights
        self.about = "FID's Inception-v3" if weights == "imagenet" else f"Inception-v3 with RANDOM weights (seed {_SEED})"
        self.suffix = "" if weights == "imagenet" else "_random_weights"

    def load(self) -> nn.Module:
        """The network; read, or drawn.

        Raises:
            UserError: the file is missing, or is not that of this network; says what to do.
        """
        network = torchvision_skeleton()
        if self.weights == "random":
            draw_into(network)
            return _FIDInception(network)
        try:
            content = INCEPTION.read()
        except UserError as error:
            raise UserError(f"{error}; PSNR, SSIM and L1 need no weights, and random ones make a number named so") from error
        try:
            network.load_state_dict(content)
        except RuntimeError as error:
            raise UserError(f"{INCEPTION.path} is not pytorch-fid's Inception-v3; put {INCEPTION.file} there") from error
        return _FIDInception(network)


def torchvision_skeleton() -> nn.Module:
    """Torchvision's Inception-v3 with the names and shapes of pytorch-fid's file; its weights are not yet set."""
    from torchvision.models import inception_v3  # its import is slow

    with torch.device("meta"):  # nothing is drawn that is replaced anyway
        network = inception_v3(weights=None, num_classes=_CLASSES, aux_logits=False, init_weights=False)
    return cast(nn.Module, network.to_empty(device="cpu"))


def draw_into(network: nn.Module) -> None:
    """Set all weights: He's initialisation from a fixed seed, biases 0, batch norms that change nothing."""
    rng = torch.Generator().manual_seed(_SEED)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=rng)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class _FIDInception(nn.Module):
    """Images (B, 3, H, W) in [0, 1] to features (B, 2048), from the layers of torchvision's Inception-v3 (taken over).

    Each batch norm is merged into its convolution, and channels lie last in memory: features change by rounding only, and take
    two thirds of the time on a CPU.
    """

    def __init__(self, inception: nn.Module) -> None:
        super().__init__()
        net = cast(Any, inception.eval())
        mean = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        layers = nn.Sequential(
            *(net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3, nn.MaxPool2d(3, stride=2)),
            *(net.Conv2d_3b_1x1, net.Conv2d_4a_3x3, nn.MaxPool2d(3, stride=2)),
            *(_block_a(block, mean) for block in (net.Mixed_5b, net.Mixed_5c, net.Mixed_5d)),
            net.Mixed_6a,
            *(_block_c(block, mean) for block in (net.Mixed_6b, net.Mixed_6c, net.Mixed_6d, net.Mixed_6e)),
            net.Mixed_7a,
            _block_e(net.Mixed_7b, mean),
            _block_e(net.Mixed_7c, nn.MaxPool2d(3, stride=1, padding=1)),
        )
        _merge_batch_norms(layers)
        self.layers = layers.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        image = interpolate(image, size=(_SIDE, _SIDE), mode="bilinear", align_corners=False)
        found: Tensor = self.layers((2 * image - 1).contiguous(memory_format=torch.channels_last))
        return found.mean(dim=(2, 3))


class _Fork(nn.Module):
    """Several ways from one input; their outputs are concatenated."""

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([way(x) for way in self.ways], dim=1)


def _block_a(block: Any, pool: nn.Module) -> nn.Module:
    return _Fork(
        block.branch1x1,
        nn.Sequential(block.branch5x5_1, block.branch5x5_2),
        nn.Sequential(block.branch3x3dbl_1, block.branch3x3dbl_2, block.branch3x3dbl_3),
        nn.Sequential(pool, block.branch_pool),
    )


def _block_c(block: Any, pool: nn.Module) -> nn.Module:
    double = (block.branch7x7dbl_1, block.branch7x7dbl_2, block.branch7x7dbl_3, block.branch7x7dbl_4, block.branch7x7dbl_5)
    return _Fork(
        block.branch1x1,
        nn.Sequential(block.branch7x7_1, block.branch7x7_2, block.branch7x7_3),
        nn.Sequential(*double),
        nn.Sequential(pool, block.branch_pool),
    )


def _block_e(block: Any, pool: nn.Module) -> nn.Module:
    return _Fork(
        block.branch1x1,
        nn.Sequential(block.branch3x3_1, _Fork(block.branch3x3_2a, block.branch3x3_2b)),
        nn.Sequential(block.branch3x3dbl_1, block.branch3x3dbl_2, _Fork(block.branch3x3dbl_3a, block.branch3x3dbl_3b)),
        nn.Sequential(pool, block.branch_pool),
    )


def _merge_batch_norms(module: nn.Module) -> None:
    """Put a convolution with bias in place of each of torchvision's pairs of convolution and batch norm."""
    from torchvision.models.inception import BasicConv2d

    for name, child in module.named_children():
        if isinstance(child, BasicConv2d):
            pair = cast(Any, child)
            setattr(module, name, nn.Sequential(fuse_conv_bn_eval(pair.conv, pair.bn), nn.ReLU(inplace=True)))
        else:
            _merge_batch_norms(child)
