"""WaveMix inpainting: "Resource-efficient image inpainting"; its public code; WavePaint.

Dharshan S. Kumar, Pranav Jeevan, Amit Sethi (Indian Institute of Technology Bombay), ICLR 2023 Tiny Papers. The block is
WaveMix's (Jeevan, Viswanathan, Sethi, arXiv 2205.14375). WavePaint: Jeevan, Kumar, Sethi, arXiv 2307.00407. Public code:
remag2069/WaveMix-Inpainting. Its history holds, at 97b502f, what is nearest to the paper ("the code" below); its head,
@6da2b5e, is WavePaint. The U-Net that the paper compares with is `lit_inpaint.papers.UNet`.

    emptied image y, mask -> [stem, to half size] -+-> [block] -> ... -> [block] -+-> [decoder, to full size] -+-> [head] -> + y
                        |                          +------------------------------+                            |
                        +--------------------------------------------------------------------------------------+
    one module, y <- module(y, mask) + y; several in a row, each fed the same mask. No discriminator.

Deviations and choices:
- `variant` chooses the network:
    "paper"      the code's network, fed the emptied image and the mask: 4 channels, as appendix A says. The text alone is too
                 little to build one: it leaves out norms, dropout, and the sum and the composite around the modules.
    "official"   the code as it is: 5 channels, between image and mask a plane of ones.
    "wavepaint"  4 channels; norm behind a block's transposed convolution instead of before it; the 5x5 depthwise convolution
                 once per module instead of in each block; a decoder of one transposed convolution; a 1x1 head. Say `blocks=4`.
  The text has one first convolution, which halves the size; the codes have two, without an activation between them.
- Parameters. Table 1 says 14 M; four modules of seven blocks, 128 channels wide, have 10,934,544 (the code, 10,936,848). The
  code's class keeps its last module under two names, and torchsummary, whose print-out the repository's history holds, counts
  it twice: five modules, 5 x 2,734,212 = 13,671,060, "14 M". Nothing is doubled here.
- The number of modules is not stated for table 1, and is one in figure 1; four is the code's.
- The losses see the composite, as the code's do; the text compares "the output" with the unmasked image. So nothing trains what
  the network says of known pixels, and `Prediction.image` is arbitrary there.
- The losses are the paper's in all variants: SSIM and mean absolute error 3:1, taken as 0.75 (1 - SSIM) + 0.25 MAE, which a
  constant ALPHA = 0.75 left in a later script supports. SSIM has its usual 11x11 Gaussian window; the paper does not say.
  The code has 1000 (LPIPS + 0.5 L1 + 5 (1 - SSIM)) instead, but gives SSIM the *known* pixels of the composite and of the
  truth. These are equal, so that this term and its gradient are 0 whatever the network does, and LPIPS and L1 alone train it.
  Neither the slip nor LPIPS is reproduced. WavePaint has 10 (LPIPS + 0.5 L1 + 0.5 MSE).
- AdamW, then SGD "during the final 50 epochs" of at most 100: 50 and 50, two stages. The code has 20 epochs of AdamW; WavePaint
  changes over when LPIPS on the test set stagnates.
- Mixed precision: the paper says yes; in the code only the loss is under autocast, so that the network runs in float32.
- `levels`, the DWT levels of tables 2 and 3, are built as the code has them in comments: each level of the transform goes
  through the same 1x1 convolutions (and so shares their norm), then its own transposed convolution back to full size, to
  `dimension / levels` channels; these stand side by side. WavePaint has one level.
- "Input size reduction" in these tables is "simple 2x downsampling of images": not the network's matter, `--data.size 48`.
- The code's reshaping takes the height for both sides. Here they are free: what is missing to a multiple of 2^(levels + 1) is
  filled up with the last pixel and cut off again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from lit_inpaint.engine.any_size import pad_to_multiple
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses.ssim import ssim_loss
from lit_inpaint.nets.haar import haar
from lit_inpaint.schedules import Value
from lit_inpaint.settings import SGD, AdamW, OptimizerSettings, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms, composite, empty_holes

Variant = Literal["paper", "official", "wavepaint"]


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms, "in the ratio 3:1" (section 2).

    Attributes:
        ssim: 1 - SSIM of the composite.
        mae: mean absolute error of the composite, over all pixels and channels, so in proportion to the share of the holes.
    """

    ssim: Value = 0.75
    mae: Value = 0.25


def smoothing(width: int) -> nn.Sequential:
    """5x5 depthwise convolution, GELU, batch norm."""
    return nn.Sequential(nn.Conv2d(width, width, 5, padding=2, groups=width), nn.GELU(), nn.BatchNorm2d(width))


class WaveMixBlock(nn.Module):
    """Mixes pixels by the Haar transform and channels by 1x1 convolutions; its caller adds the input.

    Args:
        width: channels in and out.
        expansion: channels between the two 1x1 convolutions, over `width`.
        levels: of the Haar transform.
        dropout: probability.
        wavepaint: norm last, and no smoothing.
    """

    def __init__(self, width: int, expansion: int, levels: int, dropout: float, wavepaint: bool) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, width // 4, 1)
        self.mix = nn.Sequential(
            nn.Conv2d(width, expansion * width, 1),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Conv2d(expansion * width, width, 1),
            nn.Identity() if wavepaint else nn.BatchNorm2d(width),
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(width, width // levels, 2**level + 2, stride=2**level, padding=1)
            for level in range(1, levels + 1)
        )
        self.finish = nn.BatchNorm2d(width) if wavepaint else smoothing(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), sides multiples of 2^levels, to the same shape."""
        low, maps = self.reduce(x), []
        for up in self.up:
            bands = haar(low)
            low = bands[:, : low.shape[1]]
            maps.append(up(self.mix(bands)))
        finished: Tensor = self.finish(torch.cat(maps, dim=1) if len(maps) > 1 else maps[0])
        return finished


class WaveMixModule(nn.Module):
    """Stem, blocks, decoder and head: from an image whose holes are filled somehow to what is to be added to it.

    Args:
        planes: channels of the input.
        blocks: how many.
        dimension: their width.
        expansion: see `WaveMixBlock`.
        levels: see there.
        dropout: see there.
        wavepaint: the network of the variant "wavepaint".
    """

    def __init__(
        self, planes: int, blocks: int, dimension: int, expansion: int, levels: int, dropout: float, wavepaint: bool
    ) -> None:
        super().__init__()
        half = dimension // 2
        self.stem = nn.Sequential(nn.Conv2d(planes, half, 3, padding=1), nn.Conv2d(half, dimension, 3, stride=2, padding=1))
        self.blocks = nn.ModuleList(WaveMixBlock(dimension, expansion, levels, dropout, wavepaint) for _ in range(blocks))
        self.smooth = smoothing(dimension) if wavepaint else nn.Identity()
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(2 * dimension, half, 4, stride=2, padding=1),
            nn.Identity() if wavepaint else nn.ConvTranspose2d(half, half, 3, padding=1),
            nn.BatchNorm2d(half),
        )
        self.head = nn.Conv2d(half + 3, 3, 1) if wavepaint else nn.ConvTranspose2d(half + 3, 3, 5, padding=2)

    def forward(self, image: Tensor, planes: Tensor) -> Tensor:
        """Image (B, 3, H, W) and what stands beside it (B, planes - 3, H, W) to (B, 3, H, W)."""
        first = x = self.stem(torch.cat([image, planes], dim=1))
        for block in self.blocks:
            x = block(x) + x
        x = self.decoder(torch.cat([self.smooth(x), first], dim=1))
        addition: Tensor = self.head(torch.cat([x, image], dim=1))
        return addition


class WaveMixGenerator(nn.Module):
    """Modules in a row, each filling the holes a bit more.

    Args:
        variant: as in `WaveMix`.
        modules: how many.
        blocks: in each module.
        dimension: width of the blocks.
        expansion: see `WaveMixBlock`.
        levels: see there.
        dropout: see there.
    """

    def __init__(
        self, variant: Variant, modules: int, blocks: int, dimension: int, expansion: int, levels: int, dropout: float
    ) -> None:
        super().__init__()
        self.ones = variant == "official"
        wavepaint = variant == "wavepaint"
        self.steps = nn.ModuleList(
            WaveMixModule(4 + self.ones, blocks, dimension, expansion, levels, dropout, wavepaint) for _ in range(modules)
        )

    def forward(self, emptied: Tensor, mask: Tensor) -> Tensor:
        """Emptied image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to (B, 3, H, W), unbounded."""
        planes = torch.cat([torch.ones_like(mask), mask], dim=1) if self.ones else mask
        image = emptied
        for step in self.steps:
            image = step(image, planes) + image
        return image


class WaveMix(Inpainter):
    """WaveMix inpainting and WavePaint.

    Args:
        variant: "paper", "official" (public code, 97b502f) or "wavepaint" (its later state); see the head of this file.
        modules: modules in a row (tables 2 and 3).
        blocks: WaveMix blocks in each module (tables 2 and 3); 4 in WavePaint.
        dimension: embedding dimension, the width of the blocks (tables 2 and 3); a multiple of 4 and of `levels`.
        expansion: widening inside a block, over `dimension`.
        levels: of the wavelet transform (tables 2 and 3), 1 in WavePaint.
        dropout: probability, in each block; 0.5 in the public codes, not mentioned in the paper.
        weights: of the loss terms.
        generator_optimizer: AdamW 1e-3, betas 0.9 and 0.999, epsilon 1e-8, weight decay 0.01 (appendix A).
        stages: 50 epochs of that, then 50 of SGD, 1e-3 with momentum 0.9 (appendix A).
        training: how the engine runs it.

    Raises:
        UserError: a number that the network cannot have.
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
        """Image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, of any size, to the raw output."""
        height, width = image.shape[-2:]
        image, mask = pad_to_multiple(image, mask, self.unit)
        return Prediction(self.generator(empty_holes(image, mask), mask)[..., :height, :width])

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        """Section 2, "weighted linear combination"."""
        complete = composite(batch["image"], prediction.image, batch["mask"])
        return {"ssim": ssim_loss(complete, batch["image"]), "mae": l1_loss(complete, batch["image"])}

    def load_official(self, state_dict: Mapping[str, Tensor]) -> list[str]:
        """Take over weights of remag2069/WaveMix-Inpainting: `Model` of 97b502f, or `WavePaint` of 6da2b5e.

        Afterwards `forward`, composited, computes what those networks do.

        Args:
            state_dict: that network's own.

        Returns:
            The names of what was dropped: of `Model`, `wave.*`, the second names of its last module.

        Raises:
            UserError: weights of neither, or of a network with other arguments.
        """
        keys = set(state_dict)
        variant: Variant = "wavepaint" if any(key.startswith("wavemodules.") for key in keys) else "official"
        root, names = _NAMES[variant]
        dropped = [key for key in state_dict if key.startswith("wave.")] if variant == "official" else []
        taken = {key: value for key, value in state_dict.items() if key not in set(dropped)}
        modules, blocks = (_highest(rf"{root}\.{place}", taken) for place in (r"(\d+)\.", r"\d+\.layers\.(\d+)\."))
        if not (modules and blocks):
            raise UserError(
                "these are weights neither of WaveMix-Inpainting's Model, whose first is called "
                "layers.0.layers.0.feedforward.0.weight, nor of WavePaint, whose first is called wavemodules.0.conv.0.weight"
            )
        for key in dropped:
            twin = f"{root}.{modules - 1}.{key.removeprefix('wave.')}"
            if twin not in taken or not torch.equal(taken[twin], state_dict[key]):
                raise UserError(f"{key} of these weights should be a second name of {twin}, but it holds something else")
        expanded, dimension = taken[f"{root}.0.layers.0.feedforward.0.weight"].shape[:2]
        theirs = {
            "variant": variant,
            "modules": modules,
            "blocks": blocks,
            "dimension": dimension,
            "expansion": expanded // dimension,
            "levels": 1,
        }
        if any(self.hparams[name] != value for name, value in theirs.items()):
            said = ", ".join(f"{name}={value!r}" for name, value in theirs.items())
            raise UserError(f"these weights are of another network than this: WaveMix({said})")
        ours = {}
        for key, value in taken.items():
            name = re.sub(rf"^{root}\.", "steps.", key).replace(".layers.", ".blocks.", 1)
            for old, new in names:
                name = re.sub(rf"(?<=\d)\.{re.escape(old)}\.", f".{new}.", name)
            ours[name] = value
        try:
            self.generator.load_state_dict(ours)
        except RuntimeError as error:
            raise UserError(f"the public weights do not fit this WaveMix: {' '.join(str(error).split())}") from error
        rank_zero_info(f"Loaded the public weights of {variant!r}; dropped {len(dropped)} second names (wave.*)")
        return dropped


_NAMES: dict[Variant, tuple[str, tuple[tuple[str, str], ...]]] = {
    # What the public codes call the modules' list, and the layers that are called otherwise here.
    "official": (
        "layers",
        (
            ("conv", "stem"),
            ("reduction", "reduce"),
            ("feedforward", "mix"),
            ("ff1", "up.0"),
            ("depthconv", "finish"),
            ("decoder", "decoder"),
            ("decoder2.0", "head"),
        ),
    ),
    "wavepaint": (
        "wavemodules",
        (
            ("conv", "stem"),
            ("reduction", "reduce"),
            ("feedforward.4", "up.0"),
            ("feedforward.5", "finish"),
            ("feedforward", "mix"),
            ("depthconv", "smooth"),
            ("decoder1.1", "decoder.2"),
            ("decoder1", "decoder"),
            ("decoder2.0", "head"),
        ),
    ),
}


def _highest(pattern: str, keys: Mapping[str, Tensor]) -> int:
    """How many of something there are, by the numbers that `pattern` finds at the beginning of the names; 0 if none."""
    return max((int(match[1]) + 1 for key in keys if (match := re.match(pattern, key))), default=0)
