"""How completions are judged: pure functions on [0, 1] tensors, and named protocols that fix everything around them."""

from lit_inpaint.metrics.buckets import ALL_DAMAGE_BUCKETS, DAMAGE_BUCKETS, Bucket, bucket_of
from lit_inpaint.metrics.extra import Extended, SetMeasures, extend
from lit_inpaint.metrics.fid import FID
from lit_inpaint.metrics.grey import box_psnr, grey_psnr, grey_relative_l1, grey_ssim_51, luma_ssim
from lit_inpaint.metrics.intervals import intervals
from lit_inpaint.metrics.kid import KID
from lit_inpaint.metrics.l1 import l1
from lit_inpaint.metrics.lpips import LPIPS
from lit_inpaint.metrics.protocols import (
    LPI,
    PROTOCOLS,
    Measure,
    Protocol,
    cut_to_8_bits,
    find_protocol,
    score,
    to_8_bits,
    unrounded,
)
from lit_inpaint.metrics.psnr import psnr
from lit_inpaint.metrics.rows import Pair, Row, rows
from lit_inpaint.metrics.scores import Scores, SetScore
from lit_inpaint.metrics.set_measure import SetMeasure
from lit_inpaint.metrics.ssim import ssim
from lit_inpaint.metrics.ssim_uniform import ssim_uniform
from lit_inpaint.metrics.tally import ALL, OUTSIDE, Mean, Tally

__all__ = [
    "ALL",
    "ALL_DAMAGE_BUCKETS",
    "DAMAGE_BUCKETS",
    "FID",
    "KID",
    "LPI",
    "LPIPS",
    "OUTSIDE",
    "PROTOCOLS",
    "Bucket",
    "Extended",
    "Mean",
    "Measure",
    "Pair",
    "Protocol",
    "Row",
    "Scores",
    "SetMeasure",
    "SetMeasures",
    "SetScore",
    "Tally",
    "box_psnr",
    "bucket_of",
    "cut_to_8_bits",
    "extend",
    "find_protocol",
    "grey_psnr",
    "grey_relative_l1",
    "grey_ssim_51",
    "intervals",
    "l1",
    "luma_ssim",
    "psnr",
    "rows",
    "score",
    "ssim",
    "ssim_uniform",
    "to_8_bits",
    "unrounded",
]
