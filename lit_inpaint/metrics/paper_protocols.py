"""Named ways to turn predictions into numbers. Two numbers may be compared if the same protocol made them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.metrics.grayscale import box_psnr, grey_psnr, grey_relative_l1, grey_ssim_51, luma_ssim
from lit_inpaint.metrics.l1 import l1
from lit_inpaint.metrics.mask_ratio_buckets import MASK_RATIO_BUCKETS, Bucket
from lit_inpaint.metrics.psnr import psnr
from lit_inpaint.metrics.ssim import ssim
from lit_inpaint.metrics.ssim_uniform import ssim_uniform
from lit_inpaint.types import composite


@dataclass(frozen=True)
class Metric:
    """One column of a table.

    Attributes:
        name: as rows and log keys call it.
        function: (prediction, target), both (B, 3, H, W) in [0, 1] -> (B,); with `masked`, (prediction, target, mask).
        unit: what the number is counted in; empty for a pure number.
        higher_is_better: which end of the scale is good.
        masked: the function wants the mask too, (B, 1, H, W), 1 = hole.
        smallest: least side of an image in pixels.
    """

    name: str
    function: Callable[..., Tensor]
    unit: str
    higher_is_better: bool
    masked: bool = False
    smallest: int = 1

    def __call__(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """The (B,) scores of a batch; with `masked`, infinite where there is no hole, so that no mean takes it in."""
        if not self.masked:
            return self.function(prediction, target)
        return self.function(prediction, target, mask).where(mask.amax(dim=(1, 2, 3)) > 0.5, torch.inf)


@dataclass(frozen=True)
class Protocol:
    """What is measured, and over which ranges of damage it is averaged.

    Attributes:
        name: as `--protocol` and the rows call it.
        description: what a reader must know to compare the numbers with others.
        buckets: ranges of damage that do not overlap; none where the paper averages over all samples only.
        metrics: the columns.
        quantize: what an image becomes before it is measured: 8 bits, for example.
        paper: the file of the paper's tables in `lit_inpaint.published`, whether there is one or not.
        subsample: images with a longer side than so many pixels are taken apart into such of this side, which the networks fill
            one by one (`lit_inpaint.engine.any_size`). None: networks see an image whole.
        original: images are shown in their own sizes unless the user says otherwise; else as the data has them.
    """

    name: str
    description: str
    buckets: tuple[Bucket, ...]
    metrics: tuple[Metric, ...]
    quantize: Callable[[Tensor], Tensor]
    paper: str
    subsample: int | None = None
    original: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the buckets that a table shows; "all" where there are none."""
        return tuple(bucket.label for bucket in self.buckets) or ("all",)

    def require_size(self, size: int, where: str | None = None) -> None:
        """Raises UserError where images are too small for a measure, naming it.

        Args:
            size: the shorter side in pixels.
            where: of images of several sizes, the one that has it.
        """
        for measure in self.metrics:
            if size < measure.smallest:
                least = f"{measure.smallest}x{measure.smallest}"
                found = (
                    f"these are {size}x{size}; say --data.size {measure.smallest} or more"
                    if where is None
                    else f"the shorter side of {where} has {size}; leave it out"
                )
                raise UserError(
                    f"protocol {self.name}: {measure.name} needs images of at least {least} pixels, {found}, or take another "
                    "--protocol"
                )


def round_uint8(image: Tensor) -> Tensor:
    """`image` clamped to [0, 1] and rounded to multiples of 1/255, in float64: what an 8-bit file would hold."""
    return (image.double().clamp(0, 1) * 255).round() / 255


def truncate_uint8(image: Tensor) -> Tensor:
    """`image` clamped to [0, 1] and cut off to multiples of 1/255, in float64: an 8-bit file by a cast to an integer.

    Half a grey level darker than rounding, on average; an image that was read from 8 bits stays what it is. Multiplied in
    float32, like the public code.
    """
    return (image.float().clamp(0, 1) * 255).floor().double() / 255


def unrounded(image: Tensor) -> Tensor:
    """`image` clamped to [0, 1], in float64."""
    return image.double().clamp(0, 1)


PSNR = Metric("psnr", psnr, unit="dB", higher_is_better=True)
SSIM = Metric("ssim", ssim, unit="", higher_is_better=True, smallest=11)
L1 = Metric("l1", l1, unit="%", higher_is_better=False)


def _l1_of_255(prediction: Tensor, target: Tensor) -> Tensor:
    return l1(prediction, target) * 2.55


def _l2_of_255(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction.double() - target.double()).mul(255).square().mean(dim=(1, 2, 3))


LPI = Protocol(
    name="lpi",
    description=(
        "LPI-Net, tables 1 and 2: prediction and known pixels composited, clamped to [0, 1] and rounded to 8 bits; PSNR, "
        "SSIM (Gaussian window of 11) and l1 in percent, each of one whole image, then averaged within each range of damage"
    ),
    buckets=MASK_RATIO_BUCKETS,
    metrics=(PSNR, SSIM, L1),
    quantize=round_uint8,
    paper="lpi_net",
)

DEEPGIN = Protocol(
    name="deepgin",
    description=(
        "DeepGIN, tables 1 and 2: as lpi, but composites cut off (not rounded) to 8 bits as the public test code writes "
        "them, means over all samples, and l1 over the hole's pixels only: the printed L1 errors are larger than the root "
        "mean square errors that the printed PSNRs stand for, so they cannot be of whole images. Images are in their "
        "original sizes under masks of those sizes (the paper's rows OS), or squares where the title names a side (its rows "
        "256: --data.size 256); those above 256 pixels are resized to multiples of 256, sub-sampled into 256x256 ones, "
        "filled one by one, put together and resized back (section 6.1). Chosen here, the measuring "
        "code not being public: SSIM of a Gaussian window of 11, PSNR of each image, then the mean; no self-ensemble and no "
        "blur, which the test code has and the paper does not mention"
    ),
    buckets=(),
    metrics=(PSNR, SSIM, Metric("l1_hole", l1, unit="%", higher_is_better=False, masked=True)),
    quantize=truncate_uint8,
    paper="deepgin",
    subsample=256,
    original=True,
)

WAVEMIX = Protocol(
    name="wavemix",
    description=(
        "WaveMix, tables 1 to 3: composites as floats, clamped to [0, 1], not rounded; SSIM as scikit-image has it unasked "
        "(windows of 7x7 pixels of equal weight), L1 and L2 (the mean square) of images in [0, 255], all of one whole "
        "image, then averaged over all samples, as in the public code of June 2023. That code gives SSIM a data range of "
        "255 for images in [0, 1], with which hardly anything scores below 0.99; since 0.801 is printed at 18.88 dB, the "
        "range of the images is taken here. Table 1 has FID beside it: --metrics fid"
    ),
    buckets=(),
    metrics=(
        PSNR,
        Metric("ssim", ssim_uniform, unit="", higher_is_better=True, smallest=7),
        Metric("l1_of_255", _l1_of_255, unit="", higher_is_better=False),
        Metric("l2_of_255", _l2_of_255, unit="", higher_is_better=False),
    ),
    quantize=unrounded,
    paper="wavemix",
)

PEPSI = Protocol(
    name="pepsi",
    description=(
        "PEPSI, the public code's evaluation: composites as floats, clamped to [0, 1], not rounded; PSNR of the box around "
        "the hole (local) and of the whole image, SSIM (Gaussian window of 11) of the luma cut off to whole grey levels, "
        "all of one image, then averaged over all samples. There the hole of the local PSNR is a square of 128 pixels; of "
        "free-form holes it gives the whole image's PSNR only"
    ),
    buckets=(),
    metrics=(
        Metric("psnr_local", box_psnr, unit="dB", higher_is_better=True, masked=True),
        PSNR,
        Metric("ssim_luma", luma_ssim, unit="", higher_is_better=True, smallest=11),
    ),
    quantize=unrounded,
    paper="pepsi",
)

EDGECONNECT = Protocol(
    name="edgeconnect",
    description=(
        "EdgeConnect, the public code's scripts/metrics.py: composites cut off (not rounded) to 8 bits, then grey (weights "
        "0.2125, 0.7154, 0.0721); PSNR, SSIM in windows of 51x51 pixels of equal weight, and the sum of absolute errors by "
        "the sum of both images, in percent; each of one image, then averaged within each range of damage. Its SSIM is far "
        "higher than that of the other protocols on the same images"
    ),
    buckets=MASK_RATIO_BUCKETS,
    metrics=(
        Metric("psnr_grey", grey_psnr, unit="dB", higher_is_better=True),
        Metric("ssim_grey_51", grey_ssim_51, unit="", higher_is_better=True, smallest=51),
        Metric("l1_relative", grey_relative_l1, unit="%", higher_is_better=False),
    ),
    quantize=truncate_uint8,
    paper="edgeconnect",
)

PROTOCOLS = (LPI, DEEPGIN, WAVEMIX, PEPSI, EDGECONNECT)


def find_protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        UserError: naming the nearest and all there are.
    """
    for protocol in PROTOCOLS:
        if protocol.name == name:
            return protocol
    names = [protocol.name for protocol in PROTOCOLS]
    raise UserError(f"there is no protocol {name!r}{did_you_mean(name, names, show_all=True)}")


def score(protocol: Protocol, image: Tensor, prediction: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Score a batch of predictions with the known pixels put back, at the protocol's levels of brightness.

    Args:
        protocol: what to measure.
        image: (B, 3, H, W) in [0, 1], the truth.
        prediction: (B, 3, H, W), raw: of any range, and of any float type.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B,) scores by measure name. A prediction that is not a number gives scores that are not.
    """
    target = protocol.quantize(image)
    completed = protocol.quantize(composite(image, prediction, mask))
    return {measure.name: measure(completed, target, mask) for measure in protocol.metrics}
