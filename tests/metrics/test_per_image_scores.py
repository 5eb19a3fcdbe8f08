import math
import sys

import pytest
import torch

from lit_inpaint.metrics import LPI, BucketedMeans, DistributionScore, EvaluationResult, extend, find_protocol
from lit_inpaint.metrics.score_rows import ScoreRow

N = 80


@pytest.fixture
def scores() -> EvaluationResult:
    """Two methods on 20 pictures under 4 masks; the second is 0.5 worse by PSNR and L1, with noise, equal by SSIM."""
    rng = torch.Generator().manual_seed(0)
    shares = torch.arange(N, dtype=torch.float64) % 4 / 10 + 0.15
    values = 30 * torch.rand(N, 3, generator=rng, dtype=torch.float64)
    worse = values + torch.tensor([-0.5, 0.0, 0.5]) + 0.1 * torch.randn(N, 3, generator=rng) * torch.tensor([1.0, 0.0, 1.0])
    names = [f"a/{number // 4}.png #{number % 4}" for number in range(N)]
    return EvaluationResult(LPI, names, [name[:-3] for name in names], shares, {"one": values, "other": worse})


def row(found: list[ScoreRow], method: str, bucket: str, metric: str) -> ScoreRow:
    (one,) = (row for row in found if (row["method"], row["bucket"], row["metric"]) == (method, bucket, metric))
    return one


def test_means_are_those_of_the_tally(scores: EvaluationResult) -> None:
    found = scores.rows()
    for method, values in scores.values.items():
        tally = BucketedMeans(LPI)
        tally.update({measure.name: values[:, column] for column, measure in enumerate(LPI.metrics)}, scores.shares)
        for (bucket, metric), mean in tally.compute().items():
            ours = row(found, method, bucket, metric)
            assert ours["n"] == mean.n
            assert ours["value"] == (None if mean.value is None else pytest.approx(mean.value, rel=1e-12))
    assert [r["bucket"] for r in found[::3]][:6] == ["10-20%", "20-30%", "30-40%", "40-50%", "outside", "all"]
    assert {r["pictures"] for r in found if r["bucket"] in ("10-20%", "all")} == {20}
    one = row(found, "one", "all", "psnr")
    assert one["low"] is not None
    assert one["high"] is not None
    assert one["value"] is not None
    assert one["low"] < one["value"] < one["high"]


def test_pairs_see_through_the_spread_of_the_samples(scores: EvaluationResult) -> None:
    found = scores.paired_comparisons(["one", "other"])
    assert len(found) == 6 * 3
    by = {(pair["bucket"], pair["metric"]): pair for pair in found}
    psnr, ssim, l1 = (by["all", name] for name in ("psnr", "ssim", "l1"))
    difference = scores.values["one"] - scores.values["other"]
    assert psnr["difference"] == pytest.approx(float(difference[:, 0].mean()))
    assert l1["difference"] == pytest.approx(float(difference[:, 2].mean()))
    assert psnr["ahead"] == pytest.approx(float((difference[:, 0] > 0).double().mean()))
    assert l1["ahead"] == pytest.approx(float((difference[:, 2] < 0).double().mean()))  # less is better
    assert (ssim["ahead"], ssim["level"]) == (0.0, 1.0)
    assert psnr["low"] is not None
    assert psnr["high"] is not None
    assert 0.4 < psnr["low"] < 0.5 < psnr["high"] < 0.6
    own = row(scores.rows(), "one", "all", "psnr")
    assert own["high"] is not None
    assert own["low"] is not None
    assert own["high"] - own["low"] > 20 * (psnr["high"] - psnr["low"])
    assert by["outside", "psnr"]["difference"] is None
    assert by["outside", "psnr"]["n"] == 0
    assert scores.paired_comparisons(["one"]) == []


def test_what_is_not_a_number_is_counted_and_never_averaged(scores: EvaluationResult) -> None:
    scores.values["one"][0] = math.nan
    scores.values["other"][1, 0] = math.inf
    found = scores.rows()
    broken = row(found, "one", "10-20%", "psnr")
    assert (broken["value"], broken["low"], broken["n"], broken["nan"]) == (None, None, 19, 1)
    assert row(found, "one", "20-30%", "psnr")["value"] is not None
    assert row(found, "one", "all", "l1")["value"] is None
    perfect = row(found, "other", "20-30%", "psnr")
    assert (perfect["n"], perfect["perfect"], perfect["nan"]) == (19, 1, 0)
    assert perfect["value"] == pytest.approx(float(scores.values["other"][5::4, 0].mean()))
    remarks = scores.notes()
    assert any("one: 1 of 80 outputs hold pixels that are not numbers" in remark for remark in remarks)
    assert any("other: 1 of 80 samples are left out of the mean PSNR" in remark for remark in remarks)
    values = {"a": scores.values["one"] * math.nan, "b": scores.values["other"]}
    nothing = EvaluationResult(LPI, scores.names, scores.pictures, scores.shares, values)
    assert all((pair["difference"], pair["n"]) == (None, 0) for pair in nothing.paired_comparisons(["a", "b"]))


def test_one_sample() -> None:
    one = EvaluationResult(
        LPI, ["a"], ["a"], torch.tensor([0.15], dtype=torch.float64), {"one": torch.ones(1, 3, dtype=torch.float64)}
    )
    found = row(one.rows(), "one", "10-20%", "psnr")
    assert (found["value"], found["n"], found["low"], found["high"]) == (1.0, 1, None, None)
    assert one.notes() == ["No 95 % intervals: the samples show 1 different picture(s), and it takes 5"]


def test_no_ranges_of_damage_and_measures_of_sets() -> None:
    values = torch.rand(6, 3, dtype=torch.float64)
    fid = DistributionScore("fid_6", "", False, 12.5, 6, 3, remark="fid_6: too few")
    failed = DistributionScore("kid", "", False, math.nan, 6, 3, spread=0.5)
    found = EvaluationResult(
        find_protocol("deepgin"),
        [f"{number}.png" for number in range(6)],
        [f"{number}.png" for number in range(6)],
        torch.zeros(6, dtype=torch.float64),
        {"one": values, "other": values},
        {"one": [fid, failed], "other": [fid, failed]},
    )
    rows = found.rows()
    assert {row["bucket"] for row in rows} == {"all"}
    assert row(rows, "one", "all", "psnr")["value"] == pytest.approx(float(values[:, 0].mean()))
    assert row(rows, "other", "all", "fid_6")["value"] == 12.5
    assert row(rows, "other", "all", "fid_6")["pictures"] == 3
    assert row(rows, "other", "all", "kid")["value"] is None
    assert row(rows, "one", "all", "kid")["spread"] == 0.5
    assert found.notes().count("fid_6: too few") == 1


def test_a_score_is_infinite_for_another_reason_where_less_is_better() -> None:
    protocol = extend(LPI, ["psnr_hole", "l1_hole"]).protocol
    values = torch.ones(6, 5, dtype=torch.float64)
    values[0] = torch.tensor([math.inf, 1, 0, math.inf, math.inf])
    names = [f"{number}.png" for number in range(6)]
    remarks = EvaluationResult(protocol, names, names, torch.zeros(6, dtype=torch.float64), {"one": values}).notes()
    perfect = "a completion without a fault, for which it is infinite"
    assert [remark.partition(" left out of the mean ")[2] for remark in remarks[1:]] == [
        f"PSNR: {perfect}",
        f"PSNR_HOLE: no hole or {perfect}",
        "L1_HOLE: no hole",
    ]


def test_many_pictures_are_resampled_less_often_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["lit_inpaint.metrics.bootstrap"], "_DRAWS", 30_000)
    names = [f"{number}.png" for number in range(10)]
    values = {"one": torch.rand(10, 3, dtype=torch.float64)}
    remarks = EvaluationResult(LPI, names, names, torch.zeros(10, dtype=torch.float64), values).notes()
    assert any("percentiles of 3,000 or more bootstrap means over 10 pictures" in remark for remark in remarks)


def test_a_spread_that_is_no_number_is_left_out() -> None:
    kid = DistributionScore("kid", "", False, math.nan, 6, 6, spread=math.nan)
    values = {"one": torch.rand(6, 3, dtype=torch.float64)}
    names = [f"{number}.png" for number in range(6)]
    found = EvaluationResult(LPI, names, names, torch.zeros(6, dtype=torch.float64), values, {"one": [kid]})
    assert row(found.rows(), "one", "all", "kid")["spread"] is None
