from itertools import combinations

import pytest

from lit_inpaint.evaluation.comparison_text import (
    describe_comparison,
    describe_methods,
    describe_pairs,
    describe_training_differences,
)
from lit_inpaint.metrics import LPI, PairedComparison, ScoreRow, find_protocol


def rows(**values: tuple[float | None, ...]) -> list[ScoreRow]:
    """PSNR, SSIM and L1 of each method in the protocol's buckets, all three with the same value."""
    return [
        {
            "method": name,
            "protocol": "lpi",
            "bucket": bucket.label,
            "metric": metric.name,
            "value": value,
            "n": int(value is not None),
        }
        for name, column in values.items()
        for bucket, value in zip(LPI.buckets, column, strict=True)
        for metric in LPI.metrics
    ]


def test_better_equal_and_worse_buckets_are_named() -> None:
    compared = rows(ours=(3.0, 2.0, 1.0, None), theirs=(2.0, 2.0, 2.0, None), same=(3.0, 2.0, 1.0, None))
    assert describe_comparison(compared, LPI, "ours") == [
        "ours against theirs by PSNR: better at 10-20%; equal at 20-30%; worse at 30-40%",
        "ours against same by PSNR: better nowhere; equal at 10-20%, 20-30%, 30-40%",
    ]
    assert describe_comparison(compared, LPI, "ours", "l1")[0] == (
        "ours against theirs by L1: better at 30-40%; equal at 20-30%; worse at 10-20%"
    )


def test_samples_outside_the_buckets_are_compared_and_nothing_is_stated_without_samples() -> None:
    empty = rows(ours=(None,) * 4, theirs=(None,) * 4)
    assert describe_comparison(empty, LPI, "ours") == ["ours against theirs by PSNR: no sample with a finite score of both"]
    for name, value in (("ours", 2.0), ("theirs", 1.0)):
        for bucket in ("outside", "all"):
            empty.append({"method": name, "protocol": "lpi", "bucket": bucket, "metric": "psnr", "value": value, "n": 7})
    assert describe_comparison(empty, LPI, "ours") == ["ours against theirs by PSNR: better at other mask ratios, all samples"]


def test_without_buckets_none_is_named() -> None:
    protocol = find_protocol("deepgin")
    found: list[ScoreRow] = [
        {"method": name, "protocol": "deepgin", "bucket": "all", "metric": "psnr", "value": value, "n": 2}
        for name, value in (("ours", 1.0), ("theirs", 2.0))
    ]
    assert describe_comparison(found, protocol, "ours") == ["ours against theirs by PSNR: worse"]


def test_paired_comparisons_are_described() -> None:
    shared: PairedComparison = {
        "method": "a",
        "other": "b",
        "protocol": "lpi",
        "bucket": "10-20%",
        "metric": "psnr",
        "difference": 0.5,
        "low": 0.25,
        "high": 0.75,
        "win_rate": 0.8,
        "tie_rate": 0.0,
        "n": 1200,
    }
    few: PairedComparison = {**shared, "bucket": "20-30%", "difference": -0.5, "low": None, "high": None, "n": 3}
    without_score: PairedComparison = {
        **shared,
        "bucket": "30-40%",
        "difference": None,
        "low": None,
        "high": None,
        "win_rate": None,
        "n": 0,
    }
    everything: list[PairedComparison] = [{**shared, "bucket": "outside", "n": 5}, {**shared, "bucket": "all"}]
    not_described: PairedComparison = {**shared, "metric": "ssim"}
    assert describe_pairs([shared, few, without_score, not_described, *everything], LPI) == [
        "a - b, PSNR sample by sample: 10-20%: +0.500 [+0.250, +0.750] dB, better on 80% of 1,200; 20-30%: -0.500 dB, better "
        "on 80% of 3; other mask ratios: +0.500 [+0.250, +0.750] dB, better on 80% of 5; all samples: +0.500 [+0.250, +0.750] "
        "dB, better on 80% of 1,200"
    ]
    assert describe_pairs([without_score], LPI) == ["a - b, PSNR sample by sample: no sample with a finite score of both"]


@pytest.mark.parametrize(("count", "printed"), [(6, 15), (7, 6)])
def test_of_many_methods_only_pairs_of_the_first_are_described(count: int, printed: int) -> None:
    names = [f"method {number}" for number in range(count)]
    pairs: list[PairedComparison] = [
        {
            "method": one,
            "other": other,
            "protocol": "lpi",
            "bucket": "all",
            "metric": "psnr",
            "difference": 0.5,
            "low": None,
            "high": None,
            "win_rate": 0.8,
            "tie_rate": 0.0,
            "n": 4,
        }
        for one, other in combinations(names, 2)
    ]
    *lines, last = describe_methods([], pairs, LPI, names)
    if printed < len(pairs):
        assert last == "21 pairs of methods were compared sample by sample; --output FILE.json has all of them"
        assert all(line.startswith("method 0 - ") for line in lines)
    else:
        lines.append(last)
    assert len(lines) == printed


def test_checkpoints_trained_alike_share_a_warning() -> None:
    def trained(size: int) -> dict[str, object]:
        return {"data": {"init_args": {"size": size, "val_masks": None}}}

    checkpoints = {"one": trained(32), "other": trained(96), "same": trained(64), "unknown": None}
    checkpoints |= {f"like one {number}": trained(32) for number in range(4)}
    assert describe_training_differences(checkpoints, {"init_args": {"size": 64, "val_masks": None}}, []) == [
        "one, like one 0, like one 1 and 2 more were trained with data.size = 32, evaluated here with 64",
        "other was trained with data.size = 96, evaluated here with 64",
    ]
