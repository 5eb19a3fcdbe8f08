"""Metrics of completions: pure functions on [0, 1] tensors, and the evaluation protocols of the papers."""

from lit_inpaint.metrics.bootstrap import bootstrap_intervals
from lit_inpaint.metrics.bucketed_means import ALL, OUTSIDE, BucketedMeans, Mean
from lit_inpaint.metrics.distribution_metric import DistributionMetric
from lit_inpaint.metrics.extra_metrics import DistributionMetrics, ExtraMetrics, load_metrics, load_protocol_metrics
from lit_inpaint.metrics.fid import FID
from lit_inpaint.metrics.grayscale import box_psnr, gray_psnr, gray_relative_l1, gray_ssim_51, luma_ssim
from lit_inpaint.metrics.kid import KID
from lit_inpaint.metrics.l1 import l1
from lit_inpaint.metrics.lpips import LPIPS
from lit_inpaint.metrics.mask_ratio_buckets import ALL_MASK_RATIO_BUCKETS, MASK_RATIO_BUCKETS, Bucket, bucket_of
from lit_inpaint.metrics.paper_protocols import (
    LPI,
    PROTOCOLS,
    CombinedScore,
    Metric,
    Protocol,
    clamp_only,
    find_protocol,
    round_uint8,
    score,
    truncate_uint8,
)
from lit_inpaint.metrics.per_image_scores import DistributionScore, EvaluationResult, PairedComparison, ScoreRow
from lit_inpaint.metrics.psnr import psnr
from lit_inpaint.metrics.ssim import ssim, ssim_uniform

__all__ = [
    "ALL",
    "ALL_MASK_RATIO_BUCKETS",
    "FID",
    "KID",
    "LPI",
    "LPIPS",
    "MASK_RATIO_BUCKETS",
    "OUTSIDE",
    "PROTOCOLS",
    "Bucket",
    "BucketedMeans",
    "CombinedScore",
    "DistributionMetric",
    "DistributionMetrics",
    "DistributionScore",
    "EvaluationResult",
    "ExtraMetrics",
    "Mean",
    "Metric",
    "PairedComparison",
    "Protocol",
    "ScoreRow",
    "bootstrap_intervals",
    "box_psnr",
    "bucket_of",
    "clamp_only",
    "find_protocol",
    "gray_psnr",
    "gray_relative_l1",
    "gray_ssim_51",
    "l1",
    "load_metrics",
    "load_protocol_metrics",
    "luma_ssim",
    "psnr",
    "round_uint8",
    "score",
    "ssim",
    "ssim_uniform",
    "truncate_uint8",
]
