"""Feature maps of a dilated ResNet-50 for semantic segmentation: LaMa's perceptual loss with a large receptive field.

The network is the encoder "resnet50dilated" of CSAILVision/semantic-segmentation-pytorch, trained on ADE20K: three 3x3
convolutions before the pooling, and dilation instead of stride in the last two of four stages. Their maps have an eighth of
the image's size. A `FeatureExtractor` holds it. All computation is in float32 or better, also under autocast.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, mse_loss, relu

from lit_inpaint.errors import UserError
from lit_inpaint.losses.feature_extractor import FeatureExtractor
from lit_inpaint.losses.vgg_features import ImageNetNormalization, sum_over_layers
from lit_inpaint.storage.cache_dir import cache_dir
from lit_inpaint.storage.pretrained_weights import read_state_dict
from lit_inpaint.storage.user_path import user_path

SegmentationWeights = Literal["ade20k", "random"]

FILE = "encoder_epoch_20.pth"
_SEED = 0


class SegmentationFeatures(nn.Module):
    """Feature maps of the four stages of the dilated ResNet-50.

    `load` or the first forward pass creates the network. Once created, the network is kept and moves with its parent module.

    Args:
        weights: "ade20k" reads `encoder_epoch_20.pth` of "ade20k-resnet50dilated-ppm_deepsup" from the cache directory.
            "random" is torchvision's initialization from a fixed seed: not the published loss, but it needs no file, and
            `description` names it.
        file: a file with those weights, in place of the one in the cache directory.
    """

    def __init__(self, weights: SegmentationWeights = "ade20k", file: str | None = None) -> None:
        super().__init__()
        self.weights = weights
        self.file = file
        self.normalization = ImageNetNormalization()
        self.extractor: FeatureExtractor | None = None

    @property
    def description(self) -> str:
        """The network and its weights, for logs and tables."""
        return f"a dilated ResNet-50 with {'ADE20K' if self.weights == 'ade20k' else 'RANDOM'} weights"

    def load(self) -> FeatureExtractor:
        """Return the network; the first call reads its weights or draws them.

        Raises:
            UserError: the weights are missing or belong to another network; the message names the remedy.
        """
        if self.extractor is None:
            network = DilatedResNet50()
            if self.weights == "ade20k":
                self._read_into(network)
            else:
                _initialize(network)
            self.extractor = FeatureExtractor(network).to(self.normalization.mean)
        return self.extractor

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map an image (B, 3, H, W) on the [0, 1] scale to four maps (B, C, h, w), C = 256, 512, 1024, 2048."""
        network = self.load()
        with torch.autocast(image.device.type, enabled=False):
            return cast(list[Tensor], network(self.normalization(image.to(self.normalization.mean.dtype))))

    def _read_into(self, network: nn.Module) -> None:
        path = cache_dir() / FILE if self.file is None else user_path(self.file)
        remedy = f"put {FILE} of ade20k-resnet50dilated-ppm_deepsup there, or do without: random weights or a loss weight of 0"
        if not path.is_file():
            raise UserError(f"no weights of the segmentation network at {path}; {remedy}")
        content = read_state_dict(path, remedy)
        # Releases of PyTorch before 0.4.1 saved no counters; they do not change the output.
        counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
        try:
            network.load_state_dict({**counters, **content})
        except RuntimeError as error:
            raise UserError(f"{path} is not the ADE20K encoder resnet50dilated; {remedy}") from error


def segmentation_loss(features: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Add over the four stages the mean squared difference of two sets of maps from `SegmentationFeatures`: a scalar."""
    return sum_over_layers(mse_loss, features, targets, None)


class DilatedResNet50(nn.Module):
    """The encoder, with the public names of its weights."""

    def __init__(self) -> None:
        super().__init__()
        width = 64
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width)
        self.layer1 = _stage(2 * width, width, blocks=3)
        self.layer2 = _stage(4 * width, 2 * width, blocks=4, stride=2)
        # As torchvision's networks whose stride is replaced by dilation: the first block keeps the dilation before it.
        self.layer3 = _stage(8 * width, 4 * width, blocks=6, dilations=(1, 2))
        self.layer4 = _stage(16 * width, 8 * width, blocks=3, dilations=(2, 4))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map a normalized image (B, 3, H, W) to the maps of four stages."""
        x = image
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = relu(norm(convolution(x)))
        x, maps = max_pool2d(x, 3, stride=2, padding=1), []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


def _stage(c_in: int, width: int, blocks: int, stride: int = 1, dilations: tuple[int, int] = (1, 1)) -> nn.Sequential:
    """Create bottleneck blocks with 4 `width` channels at their ends; `dilations` are the first block's and the others'."""
    from torchvision.models.resnet import Bottleneck  # its import is slow, and only training needs it

    c_out = 4 * width
    shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
    first = Bottleneck(c_in, width, stride, shortcut, dilation=dilations[0])
    return nn.Sequential(first, *(Bottleneck(c_out, width, dilation=dilations[1]) for _ in range(blocks - 1)))


def _initialize(network: nn.Module) -> None:
    """Initialize as torchvision's ResNet."""
    rng = torch.Generator().manual_seed(_SEED)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=rng)
