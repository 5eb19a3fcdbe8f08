"""Named ways to turn predictions into numbers. Two numbers may be compared if the same protocol made them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lit_inpaint.metrics.buckets import DAMAGE_BUCKETS, Bucket
from lit_inpaint.metrics.l1 import l1
from lit_inpaint.metrics.psnr import psnr
from lit_inpaint.metrics.ssim import ssim
from lit_inpaint.types import UserError, composite


@dataclass(frozen=True)
class Measure:
    """One column of a table.

    Attributes:
        name: as rows and log keys call it.
        function: (prediction, target), both (B, 3, H, W) in [0, 1] -> (B,).
        unit: what the number is counted in; empty for a pure number.
        higher_is_better: which end of the scale is good.
    """

    name: str
    function: Callable[[Tensor, Tensor], Tensor]
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class Protocol:
    """What is measured, and over which ranges of damage it is averaged.

    Attributes:
        name: as `--protocol` and the rows call it.
        description: what a reader must know to compare the numbers with others.
        buckets: ranges of damage that do not overlap.
        measures: the columns.
    """

    name: str
    description: str
    buckets: tuple[Bucket, ...]
    measures: tuple[Measure, ...]


LPI = Protocol(
    name="lpi",
    description=(
        "LPI-Net, tables 1 and 2: prediction and known pixels composited, clamped to [0, 1] and rounded to 8 bits; PSNR, SSIM "
        "(Gaussian window of 11) and l1 in percent, each of one whole image, then averaged within each range of damage"
    ),
    buckets=DAMAGE_BUCKETS,
    measures=(
        Measure("psnr", psnr, unit="dB", higher_is_better=True),
        Measure("ssim", ssim, unit="", higher_is_better=True),
        Measure("l1", l1, unit="%", higher_is_better=False),
    ),
)

PROTOCOLS = (LPI,)


def find_protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        UserError: naming the protocols there are.
    """
    for protocol in PROTOCOLS:
        if protocol.name == name:
            return protocol
    names = ", ".join(protocol.name for protocol in PROTOCOLS)
    raise UserError(f"there is no protocol {name!r}; there is: {names}")


def score(protocol: Protocol, image: Tensor, prediction: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Score a batch of predictions, as they would look in 8-bit files with the known pixels put back.

    Args:
        protocol: what to measure.
        image: (B, 3, H, W) in [0, 1], the truth.
        prediction: (B, 3, H, W), raw: of any range, and of any float type.
        mask: (B, 1, H, W), 1 = hole.

    Returns:
        (B,) scores by measure name. A prediction that is not a number gives scores that are not.
    """
    target = to_8_bits(image)
    completed = to_8_bits(composite(image, prediction, mask))
    return {measure.name: measure.function(completed, target) for measure in protocol.measures}


def to_8_bits(image: Tensor) -> Tensor:
    """`image` clamped to [0, 1] and rounded to multiples of 1/255, in float64: what an 8-bit file would hold."""
    return (image.double().clamp(0, 1) * 255).round() / 255
