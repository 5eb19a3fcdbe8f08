"""How completions are judged: pure functions on [0, 1] tensors, and named protocols that fix everything around them."""

from lit_inpaint.metrics.buckets import ALL_DAMAGE_BUCKETS, DAMAGE_BUCKETS, Bucket, bucket_of
from lit_inpaint.metrics.l1 import l1
from lit_inpaint.metrics.protocols import LPI, PROTOCOLS, Measure, Protocol, find_protocol, score, to_8_bits
from lit_inpaint.metrics.psnr import psnr
from lit_inpaint.metrics.rows import Row, rows
from lit_inpaint.metrics.ssim import ssim
from lit_inpaint.metrics.tally import Mean, Tally

__all__ = [
    "ALL_DAMAGE_BUCKETS",
    "DAMAGE_BUCKETS",
    "LPI",
    "PROTOCOLS",
    "Bucket",
    "Mean",
    "Measure",
    "Protocol",
    "Row",
    "Tally",
    "bucket_of",
    "find_protocol",
    "l1",
    "psnr",
    "rows",
    "score",
    "ssim",
    "to_8_bits",
]
