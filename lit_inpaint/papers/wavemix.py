"""WaveMix inpainting: "Resource-efficient image inpainting"; its public code; WavePaint.

Dharshan S. Kumar, Pranav Jeevan, Amit Sethi (Indian Institute of Technology Bombay), ICLR 2023 Tiny Papers. The block is
WaveMix's (Jeevan, Viswanathan, Sethi, arXiv 2205.14375). WavePaint: Jeevan, Kumar, Sethi, arXiv 2307.00407. Public code:
remag2069/WaveMix-Inpainting. Commit 97b502f is the one nearest to the paper ("the code" below); the newest, @6da2b5e, is
WavePaint. The U-Net that the paper compares with is `lit_inpaint.papers.UNet`.

    emptied image y, mask -> [stem, to half size] -+-> [block] -> ... -> [block] -+-> [decoder, to full size] -+-> [head] -> + y
                        |                          +------------------------------+                            |
                        +--------------------------------------------------------------------------------------+
    one module, y <- module(y, mask) + y; several in a row, each with the same mask as input. No discriminator.

Deviations and choices:
- `variant` chooses the network:
    "paper"      the code's network with the emptied image and the mask as input: 4 channels, as appendix A states. The text
                 alone does not define one: it omits norms, dropout, and the sum and the composite around the modules.
    "official"   the code as it is: 5 channels, a plane of ones between image and mask.
    "wavepaint"  4 channels; batch norm after a block's transposed convolution instead of before it; the 5x5 depthwise
                 convolution once per module instead of in each block; a decoder of one transposed convolution; a 1x1 head. Set
                 `blocks=4` with it.
  The text has one first convolution, which halves the size; the codes have two, without an activation between them.
- Parameters. Table 1 has 14 M; four modules of seven blocks, 128 channels wide, have 10,934,544 (the code, 10,936,848). The
  code's class keeps its last module under two names, and torchsummary, whose output is in the repository's history, counts it
  twice: five modules, 5 x 2,734,212 = 13,671,060, "14 M". Here nothing is counted twice.
- The number of modules is not stated for table 1, and is one in figure 1; four is the code's.
- The input of the losses is the composite, as in the code; the text compares "the output" with the unmasked image. So known
  pixels of the output have no gradient, and `Prediction.image` is arbitrary there.
- The losses are the paper's in all variants: SSIM and mean absolute error 3:1, read as 0.75 (1 - SSIM) + 0.25 MAE; a constant
  ALPHA = 0.75 left in a later script supports this. SSIM has its usual 11x11 Gaussian window, which the paper does not state.
  The code has 1000 (LPIPS + 0.5 L1 + 5 (1 - SSIM)) instead, but its SSIM compares the *known* pixels of the composite and of
  the target. These are equal, so this term and its gradient are 0, and only LPIPS and L1 train the network. Neither this
  mistake nor LPIPS is reproduced. WavePaint has 10 (LPIPS + 0.5 L1 + 0.5 MSE).
- AdamW, then SGD "during the final 50 epochs" of at most 100: 50 and 50, two stages. The code has 20 epochs of AdamW;
  WavePaint switches when LPIPS on the test set stagnates.
- Mixed precision: the paper uses it, and so do the experiments (`trainer.precision: 16-mixed`, which is bfloat16 on a CPU). In
  the code autocast covers only the loss, so the network runs in float32.
- Squares of 8x8 and 12x12 (tables 2 and 3): their position is not stated. In the experiments it is random, at least 10 pixels
  from the border, as that of the code's boxes.
- `levels`, the DWT levels of tables 2 and 3, follow the comments in the code: the bands of each level of the transform pass the
  same 1x1 convolutions (and their norm), then a transposed convolution of their own back to full size, to `dimension / levels`
  channels; the results are concatenated. WavePaint has one level.
- "Input size reduction" in these tables is "simple 2x downsampling of images": no option of the network, `--data.size 48`.
- The code's reshaping uses the height for both sides. Here the sides are independent: they are padded to a multiple of
  2^(levels + 1) by replication, and the output is cropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from lit_inpaint.engine.any_size import crop, pad_to_multiple
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.ssim import ssim_loss
from lit_inpaint.nets.dropout import Dropout
from lit_inpaint.nets.haar import haar
from lit_inpaint.official_weights import wavemix as official_weights
from lit_inpaint.official_weights.renaming import reject_discriminator
from lit_inpaint.schedules import Value
from lit_inpaint.settings import SGD, AdamW, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, composite, empty_holes

Variant = Literal["paper", "official", "wavepaint"]


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms, "in the ratio 3:1" (section 2).

    Attributes:
        ssim: 1 - SSIM of the composite.
        mae: mean absolute error of the composite, over all pixels and channels, so proportional to the mask ratio.
    """

    ssim: Value = 0.75
    mae: Value = 0.25


def depthwise_layer(width: int) -> nn.Sequential:
    """A 5x5 depthwise convolution, GELU, batch norm."""
    return nn.Sequential(nn.Conv2d(width, width, 5, padding=2, groups=width), nn.GELU(), nn.BatchNorm2d(width))


class WaveMixBlock(nn.Module):
    """Token mixing by the Haar transform and 1x1 convolutions, without the residual sum.

    Args:
        width: channels in and out.
        expansion: channels between the two 1x1 convolutions divided by `width`.
        levels: of the Haar transform.
        dropout: probability.
        wavepaint: batch norm at the end, and no depthwise convolution.
    """

    def __init__(self, width: int, expansion: int, levels: int, dropout: float, wavepaint: bool) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(width, width // 4, 1)
        self.feed_forward = nn.Sequential(
            nn.Conv2d(width, expansion * width, 1),
            nn.GELU(),
            Dropout(dropout),
            nn.Conv2d(expansion * width, width, 1),
            nn.Identity() if wavepaint else nn.BatchNorm2d(width),
        )
        self.deconvolution = nn.ModuleList(
            nn.ConvTranspose2d(width, width // levels, 2**level + 2, stride=2**level, padding=1)
            for level in range(1, levels + 1)
        )
        self.depthwise = nn.Identity() if wavepaint else depthwise_layer(width)
        self.norm = nn.BatchNorm2d(width) if wavepaint else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), sides multiples of 2^levels, to the same shape."""
        low, maps = self.reduction(x), []
        for deconvolution in self.deconvolution:
            bands = haar(low)
            low = bands[:, : low.shape[1]]
            maps.append(deconvolution(self.feed_forward(bands)))
        mixed: Tensor = self.norm(self.depthwise(torch.cat(maps, dim=1) if len(maps) > 1 else maps[0]))
        return mixed


class WaveMixModule(nn.Module):
    """Stem, blocks, decoder and head: from an image to the residual of its holes.

    Args:
        in_channels: channels of the image and of the planes beside it.
        blocks: number of blocks.
        dimension: width of the blocks.
        expansion: see `WaveMixBlock`.
        levels: see `WaveMixBlock`.
        dropout: see `WaveMixBlock`.
        wavepaint: the network of the variant "wavepaint".
    """

    def __init__(
        self, in_channels: int, blocks: int, dimension: int, expansion: int, levels: int, dropout: float, wavepaint: bool
    ) -> None:
        super().__init__()
        half = dimension // 2
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, half, 3, padding=1), nn.Conv2d(half, dimension, 3, stride=2, padding=1)
        )
        self.blocks = nn.ModuleList(WaveMixBlock(dimension, expansion, levels, dropout, wavepaint) for _ in range(blocks))
        self.depthwise = depthwise_layer(dimension) if wavepaint else nn.Identity()
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(2 * dimension, half, 4, stride=2, padding=1),
            nn.Identity() if wavepaint else nn.ConvTranspose2d(half, half, 3, padding=1),
            nn.BatchNorm2d(half),
        )
        self.head = nn.Conv2d(half + 3, 3, 1) if wavepaint else nn.ConvTranspose2d(half + 3, 3, 5, padding=2)

    def forward(self, image: Tensor, planes: Tensor) -> Tensor:
        """Map image (B, 3, H, W) and planes (B, in_channels - 3, H, W) to (B, 3, H, W)."""
        first = x = self.stem(torch.cat([image, planes], dim=1))
        for block in self.blocks:
            x = block(x) + x
        x = self.decoder(torch.cat([self.depthwise(x), first], dim=1))
        residual: Tensor = self.head(torch.cat([x, image], dim=1))
        return residual


class WaveMixGenerator(nn.Module):
    """WaveMix modules in a row, each with a residual connection; the arguments are those of `WaveMix`."""

    def __init__(
        self, variant: Variant, modules: int, blocks: int, dimension: int, expansion: int, levels: int, dropout: float
    ) -> None:
        super().__init__()
        self.ones_plane = variant == "official"
        wavepaint = variant == "wavepaint"
        self.wavemix_modules = nn.ModuleList(
            WaveMixModule(4 + self.ones_plane, blocks, dimension, expansion, levels, dropout, wavepaint) for _ in range(modules)
        )

    def forward(self, emptied: Tensor, mask: Tensor) -> Tensor:
        """Map emptied image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to (B, 3, H, W), unbounded."""
        planes = torch.cat([torch.ones_like(mask), mask], dim=1) if self.ones_plane else mask
        image = emptied
        for module in self.wavemix_modules:
            image = module(image, planes) + image
        return image


class WaveMix(Inpainter):
    """WaveMix inpainting and WavePaint.

    Args:
        variant: "paper", "official" (public code, 97b502f) or "wavepaint" (its later state); see the top of this file.
        modules: number of modules (tables 2 and 3).
        blocks: WaveMix blocks in each module (tables 2 and 3); 4 in WavePaint.
        dimension: embedding dimension, the width of the blocks (tables 2 and 3); a multiple of 4 and of `levels`.
        expansion: hidden channels of a block divided by `dimension`.
        levels: of the wavelet transform (tables 2 and 3), 1 in WavePaint.
        dropout: probability in each block; 0.5 in the public codes, not mentioned in the paper.
        weights: of the loss terms.
        generator_optimizer: AdamW 1e-3, betas 0.9 and 0.999, epsilon 1e-8, weight decay 0.01 (appendix A).
        stages: 50 epochs of AdamW, then 50 of SGD, 1e-3 with momentum 0.9 (appendix A).
        training: options of the engine.

    Raises:
        UserError: a number below 1, a `dimension` that does not divide, or `levels` that WavePaint does not have.
    """

    generator: WaveMixGenerator
    published_as: ClassVar[dict[str, dict[str, object]]] = {"WaveMix": {"modules": 4, "blocks": 7, "dimension": 128}}

    def __init__(
        self,
        variant: Variant = "paper",
        modules: int = 4,
        blocks: int = 7,
        dimension: int = 128,
        expansion: int = 2,
        levels: int = 1,
        dropout: float = 0.5,
        weights: Weights = Weights(),
        generator_optimizer: OptimizerSettings = AdamW(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01),
        stages: tuple[Stage, ...] = (
            Stage("AdamW", discriminator=False, epochs=50),
            Stage("SGD", discriminator=False, epochs=50, generator_optimizer=SGD(lr=1e-3, momentum=0.9)),
        ),
        training: Training = Training(),
    ) -> None:
        super().__init__(weights, generator_optimizer, None, training, stages)
        for name, value in (("modules", modules), ("blocks", blocks), ("expansion", expansion), ("levels", levels)):
            if value < 1:
                raise UserError(f"WaveMix: {name} is {value}; it takes 1 or more")
        if dimension < 4 or dimension % 4 or dimension % levels:
            raise UserError(f"WaveMix: dimension is {dimension}; it takes a multiple of 4 and of levels, {levels}")
        if variant == "wavepaint" and levels > 1:
            raise UserError(f"WaveMix: levels is {levels}, but WavePaint's blocks have one level")
        self.variant = variant
        self.unit = 2 ** (levels + 1)
        self.generator = WaveMixGenerator(variant, modules, blocks, dimension, expansion, levels, dropout)
        self.discriminator = None

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """Map image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, of any size, to the raw output."""
        height, width = image.shape[-2:]
        image, mask = pad_to_multiple(image, mask, self.unit)
        return Prediction(crop(self.generator(empty_holes(image, mask), mask), height, width))

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Compute the "weighted linear combination" of section 2."""
        complete = composite(batch["image"], prediction.image, batch["mask"])
        return {"ssim": ssim_loss(complete, batch["image"]), "mae": l1_loss(complete, batch["image"])}

    def load_official(self, generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor] | None = None) -> list[str]:
        """Load weights of remag2069/WaveMix-Inpainting; `forward`, composited, then computes what those networks do."""
        reject_discriminator("WaveMix", discriminator)
        dropped = official_weights.load(self.generator, generator, self.hparams)
        rank_zero_info(f"Loaded the public weights of {self.variant!r}; dropped {len(dropped)} second names (wave.*)")
        return dropped
