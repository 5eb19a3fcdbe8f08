"""Evaluation protocols of the papers: which metrics, of which images, averaged over which mask-ratio buckets.

Two numbers are comparable if the same protocol made them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.metrics.grayscale import box_psnr, gray_psnr, gray_relative_l1, gray_ssim_51, luma_ssim
from lit_inpaint.metrics.l1 import l1
from lit_inpaint.metrics.mask_ratio_buckets import ALL_MASK_RATIO_BUCKETS, MASK_RATIO_BUCKETS, Bucket
from lit_inpaint.metrics.psnr import psnr
from lit_inpaint.metrics.ssim import ssim, ssim_uniform, ssim_zero_padded
from lit_inpaint.types import composite


@dataclass(frozen=True)
class Metric:
    """A metric of single images, one column of a table.

    Attributes:
        name: in rows and log keys.
        function: (prediction, target), both (B, 3, H, W) in [0, 1] -> (B,); with `masked`, (prediction, target, mask).
        unit: of the value; empty for a pure number.
        higher_is_better: the direction of the metric.
        masked: the function takes the mask too, (B, 1, H, W), 1 = hole.
        min_size: minimum side of an image in pixels.
        version: what else determines the values, such as the file of a network's weights: two metrics with the same name and
            version are the same.
    """

    name: str
    function: Callable[..., Tensor]
    unit: str
    higher_is_better: bool
    masked: bool = False
    min_size: int = 1
    version: str = ""

    def __call__(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """The (B,) scores of a batch; with `masked`, infinite where there is no hole: means leave infinite scores out."""
        if not self.masked:
            return self.function(prediction, target)
        return self.function(prediction, target, mask).where(mask.amax(dim=(1, 2, 3)) > 0.5, torch.inf)


@dataclass(frozen=True)
class CombinedScore:
    """A function of the mean of a metric of single images and of a metric of the whole set.

    Attributes:
        name: in rows; the suffix of the whole set's metric is appended, such as "_1000" of `fid_1000`. Before it comes that of
            `metric`, such as "_alex", where several metrics match.
        metric: name of the former, or its beginning: `lpips` stands for each LPIPS.
        distribution: name of the latter without its suffix.
        function: of the two values; higher is better.
    """

    name: str
    metric: str
    distribution: str
    function: Callable[[float, float], float]


@dataclass(frozen=True)
class Protocol:
    """The metrics of a paper, and the buckets that their means are computed over.

    Attributes:
        name: for `--protocol` and in rows.
        description: what determines the numbers, for comparison with others.
        buckets: disjoint mask-ratio buckets; empty where the paper averages over all samples only.
        metrics: the columns.
        quantize: applied to target and composite before the metrics, for example rounding to 8 bits.
        paper: name of the paper's file in `lit_inpaint.published`, which need not exist.
        subsample_size: an image with a longer side than this is split into polyphase parts of this side, which are completed
            one by one (`lit_inpaint.engine.any_size`). None: images are completed whole.
        native_size: evaluate images in their native sizes unless the user sets a size or transform.
        extra_metrics: metrics with networks, that `evaluate` adds unless the user names others; `fit` does not use them.
        combined: scores that combine two metrics, where both are measured.
    """

    name: str
    description: str
    buckets: tuple[Bucket, ...]
    metrics: tuple[Metric, ...]
    quantize: Callable[[Tensor], Tensor]
    paper: str
    subsample_size: int | None = None
    native_size: bool = False
    extra_metrics: tuple[str, ...] = ()
    combined: tuple[CombinedScore, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the buckets in a table; "all" where there are none."""
        return tuple(bucket.label for bucket in self.buckets) or ("all",)

    @property
    def main_metric(self) -> Metric:
        """The PSNR of the whole image, which nearly all protocols have; else the first metric."""
        return next((metric for metric in self.metrics if metric.name == "psnr"), self.metrics[0])

    def require_size(self, size: int, where: str | None = None) -> None:
        """Check that images are large enough for all metrics.

        Args:
            size: the shorter side in pixels.
            where: the smallest image, where images differ in size.

        Raises:
            UserError: names the metric, its minimum size and the remedy.
        """
        for metric in self.metrics:
            if size < metric.min_size:
                remedy = (
                    f"these are {size}x{size}; set --data.size {metric.min_size} or more"
                    if where is None
                    else f"the shorter side of {where} has {size}; leave it out"
                )
                raise UserError(
                    f"protocol {self.name}: {metric.name} needs images of at least {metric.min_size}x{metric.min_size} pixels, "
                    f"{remedy}, or choose another --protocol"
                )


def round_uint8(image: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to multiples of 1/255, in float64: the values of an 8-bit file."""
    return (image.double().clamp(0, 1) * 255).round() / 255


def truncate_uint8(image: Tensor) -> Tensor:
    """Clamp to [0, 1] and truncate to multiples of 1/255, in float64: the values of an 8-bit file after a cast to integers.

    On average half a gray level darker than rounding; an image read from 8 bits is unchanged. The product is in float32, as in
    the public code.
    """
    return (image.float().clamp(0, 1) * 255).floor().double() / 255


def clamp_only(image: Tensor) -> Tensor:
    """Clamp to [0, 1], in float64."""
    return image.double().clamp(0, 1)


PSNR = Metric("psnr", psnr, unit="dB", higher_is_better=True)
SSIM = Metric("ssim", ssim, unit="", higher_is_better=True, min_size=11)
L1 = Metric("l1", l1, unit="%", higher_is_better=False)


def _l1_of_255(prediction: Tensor, target: Tensor) -> Tensor:
    return l1(prediction, target) * 2.55


def _l2_of_255(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction.double() - target.double()).mul(255).square().mean(dim=(1, 2, 3))


LPI = Protocol(
    name="lpi",
    description=(
        "LPI-Net, tables 1 and 2: prediction and known pixels composited, clamped to [0, 1] and rounded to 8 bits; PSNR, "
        "SSIM (Gaussian window of 11) and l1 in percent, each of one whole image, then averaged within each mask-ratio bucket"
    ),
    buckets=MASK_RATIO_BUCKETS,
    metrics=(PSNR, SSIM, L1),
    quantize=round_uint8,
    paper="lpi_net",
)

DEEPGIN = Protocol(
    name="deepgin",
    description=(
        "DeepGIN, tables 1 and 2: as lpi, but composites truncated (not rounded) to 8 bits as the public test code writes "
        "them, means over all samples, and l1 over the hole's pixels only: the printed L1 errors are larger than the root "
        "mean square errors that the printed PSNRs imply, so they cannot be of whole images. Images and masks have their "
        "original sizes (the paper's rows OS), or are squares where the title names a side (its rows 256: --data.size 256); "
        "those above 256 pixels are resized to multiples of 256, subsampled into 256x256 parts, completed one by one, "
        "regrouped and resized back (section 6.1). Chosen here, since the paper's evaluation "
        "code is not public: SSIM with a Gaussian window of 11, PSNR of each image, then the mean; no self-ensemble and no "
        "blur, which the test code has and the paper does not mention"
    ),
    buckets=(),
    metrics=(PSNR, SSIM, Metric("l1_hole", l1, unit="%", higher_is_better=False, masked=True)),
    quantize=truncate_uint8,
    paper="deepgin",
    subsample_size=256,
    native_size=True,
)

WAVEMIX = Protocol(
    name="wavemix",
    description=(
        "WaveMix, tables 1 to 3: composites as floats, clamped to [0, 1], not rounded; SSIM with scikit-image's defaults "
        "(uniform 7x7 windows), L1 and L2 (the mean square) of images in [0, 255], each of one whole "
        "image, then averaged over all samples, as in the public code of June 2023. That code sets SSIM's data range to "
        "255 for images in [0, 1], which gives nearly all images 0.99 or more; since the paper prints 0.801 at 18.88 dB, the "
        "data range here is 1. Table 1 has FID too: --metrics fid"
    ),
    buckets=(),
    metrics=(
        PSNR,
        Metric("ssim", ssim_uniform, unit="", higher_is_better=True, min_size=7),
        Metric("l1_of_255", _l1_of_255, unit="", higher_is_better=False),
        Metric("l2_of_255", _l2_of_255, unit="", higher_is_better=False),
    ),
    quantize=clamp_only,
    paper="wavemix",
)

PEPSI = Protocol(
    name="pepsi",
    description=(
        "PEPSI, the public code's evaluation: composites as floats, clamped to [0, 1], not rounded; PSNR of the hole's "
        "bounding box (local) and of the whole image, SSIM (Gaussian window of 11) of the luma truncated to 8 bits, "
        "each of one image, then averaged over all samples. In that code the local PSNR is of a square hole of 128 pixels; "
        "for free-form holes it reports the whole image's PSNR only"
    ),
    buckets=(),
    metrics=(
        Metric("psnr_local", box_psnr, unit="dB", higher_is_better=True, masked=True),
        PSNR,
        Metric("ssim_luma", luma_ssim, unit="", higher_is_better=True, min_size=11),
    ),
    quantize=clamp_only,
    paper="pepsi",
)

EDGECONNECT = Protocol(
    name="edgeconnect",
    description=(
        "EdgeConnect, the public code's scripts/metrics.py: composites truncated (not rounded) to 8 bits, then gray (weights "
        "0.2125, 0.7154, 0.0721); PSNR, SSIM with uniform 51x51 windows, and the sum of absolute errors divided by "
        "the sum of both images, in percent; each of one image, then averaged within each mask-ratio bucket. Its SSIM is far "
        "higher than that of the other protocols on the same images"
    ),
    buckets=MASK_RATIO_BUCKETS,
    metrics=(
        Metric("psnr_gray", gray_psnr, unit="dB", higher_is_better=True),
        Metric("ssim_gray_51", gray_ssim_51, unit="", higher_is_better=True, min_size=51),
        Metric("l1_relative", gray_relative_l1, unit="%", higher_is_better=False),
    ),
    quantize=truncate_uint8,
    paper="edgeconnect",
)

PCONV = replace(
    LPI,
    name="pconv",
    description=(
        "As lpi, in the six mask-ratio buckets of PConv's irregular test masks (Liu et al. 2018), 0-10 % to 50-60 %. The "
        "report on regular holes that is reproduced here has no scores: its holes of 64x64 in 256x256 pixels are 6.25 %"
    ),
    buckets=ALL_MASK_RATIO_BUCKETS,
    paper="pconv",
)


def f1_with_fid(score: float, fid: float) -> float:
    """LaMa's F1 of a score in [0, 1], higher is better, and max(0, 100 - FID) / 100: 2 a b / (a + b + 0.001); NaN for a NaN."""
    quality = max(100 - fid, 0.0) / 100  # in the other order a NaN would become 0
    return 2 * score * quality / (score + quality + 1e-3)


LAMA = Protocol(
    name="lama",
    description=(
        "LaMa, the public code's evaluation: composites truncated (not rounded) to 8 bits; SSIM (Gaussian window of 11, images "
        "surrounded by zeros), LPIPS (VGG-16) and FID of all samples, without mask-ratio buckets. ssim_fid100_f1 is the "
        "number by which that code selects checkpoints, lpips_fid100_f1 the one that its evaluation prints: F1 of SSIM, or "
        "1 - LPIPS, and max(0, 100 - FID) / 100. PSNR is not in that code; FID uses composites rounded to 8 bits"
    ),
    buckets=(),
    metrics=(PSNR, Metric("ssim", ssim_zero_padded, unit="", higher_is_better=True)),
    quantize=truncate_uint8,
    paper="lama",
    extra_metrics=("lpips_vgg", "fid"),
    combined=(
        CombinedScore("ssim_fid100_f1", "ssim", "fid", f1_with_fid),
        CombinedScore("lpips_fid100_f1", "lpips", "fid", lambda lpips, fid: f1_with_fid(1 - lpips, fid)),
    ),
)

PROTOCOLS = (LPI, DEEPGIN, WAVEMIX, PEPSI, EDGECONNECT, PCONV, LAMA)


def find_protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        UserError: unknown name; lists the closest and all names.
    """
    for protocol in PROTOCOLS:
        if protocol.name == name:
            return protocol
    names = [protocol.name for protocol in PROTOCOLS]
    raise UserError(f"there is no protocol {name!r}{did_you_mean(name, names, show_all=True)}")


def score(protocol: Protocol, image: Tensor, prediction: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Score the composites of a batch of predictions, quantized as the protocol requires.

    Args:
        protocol: the metrics.
        image: (B, 3, H, W) in [0, 1], the target.
        prediction: (B, 3, H, W), raw: any range and any float type.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B,) scores by metric name; NaN where a prediction holds NaN.
    """
    # Sums depend on the memory layout in their last digit: equal images would not have equal scores.
    target = protocol.quantize(image).contiguous()
    completed = protocol.quantize(composite(image, prediction, mask)).contiguous()
    return {metric.name: metric(completed, target, mask) for metric in protocol.metrics}
