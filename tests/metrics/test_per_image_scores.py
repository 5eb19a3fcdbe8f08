import json
import math
import sys

import pytest
import torch

from lit_inpaint.metrics import LPI, BucketedMeans, DistributionScore, EvaluationResult, ScoreRow, find_protocol, load_metrics

N = 80


@pytest.fixture
def result() -> EvaluationResult:
    """Two methods on 20 images under 4 masks; the second is 0.5 worse by PSNR and L1, with noise, and equal by SSIM."""
    rng = torch.Generator().manual_seed(0)
    mask_ratios = torch.arange(N, dtype=torch.float64) % 4 / 10 + 0.15
    values = 30 * torch.rand(N, 3, generator=rng, dtype=torch.float64)
    worse = values + torch.tensor([-0.5, 0.0, 0.5]) + 0.1 * torch.randn(N, 3, generator=rng) * torch.tensor([1.0, 0.0, 1.0])
    names = [f"a/{number // 4}.png #{number % 4}" for number in range(N)]
    return EvaluationResult(LPI, names, [name[:-3] for name in names], mask_ratios, {"one": values, "other": worse})


def find_row(rows: list[ScoreRow], method: str, bucket: str, metric: str) -> ScoreRow:
    (one,) = (row for row in rows if (row["method"], row["bucket"], row["metric"]) == (method, bucket, metric))
    return one


def test_means_equal_bucketed_means(result: EvaluationResult) -> None:
    rows = result.rows()
    for method, values in result.scores.items():
        means = BucketedMeans(LPI)
        means.update({metric.name: values[:, column] for column, metric in enumerate(LPI.metrics)}, result.mask_ratios)
        for (bucket, metric), mean in means.compute().items():
            ours = find_row(rows, method, bucket, metric)
            assert ours["n"] == mean.n
            assert ours["value"] == (None if mean.value is None else pytest.approx(mean.value, rel=1e-12))
    assert [r["bucket"] for r in rows[::3]][:6] == ["10-20%", "20-30%", "30-40%", "40-50%", "outside", "all"]
    assert {r["num_images"] for r in rows if r["bucket"] in ("10-20%", "all")} == {20}
    one = find_row(rows, "one", "all", "psnr")
    assert one["low"] is not None
    assert one["high"] is not None
    assert one["value"] is not None
    assert one["low"] < one["value"] < one["high"]


def test_paired_intervals_are_narrower_than_those_of_the_means(result: EvaluationResult) -> None:
    pairs = result.paired_comparisons(["one", "other"])
    assert len(pairs) == 6 * 3
    by = {(pair["bucket"], pair["metric"]): pair for pair in pairs}
    psnr, ssim, l1 = (by["all", name] for name in ("psnr", "ssim", "l1"))
    difference = result.scores["one"] - result.scores["other"]
    assert psnr["difference"] == pytest.approx(float(difference[:, 0].mean()))
    assert l1["difference"] == pytest.approx(float(difference[:, 2].mean()))
    assert psnr["win_rate"] == pytest.approx(float((difference[:, 0] > 0).double().mean()))
    assert l1["win_rate"] == pytest.approx(float((difference[:, 2] < 0).double().mean()))  # lower is better
    assert (ssim["win_rate"], ssim["tie_rate"]) == (0.0, 1.0)
    assert psnr["low"] is not None
    assert psnr["high"] is not None
    assert 0.4 < psnr["low"] < 0.5 < psnr["high"] < 0.6
    own = find_row(result.rows(), "one", "all", "psnr")
    assert own["high"] is not None
    assert own["low"] is not None
    assert own["high"] - own["low"] > 20 * (psnr["high"] - psnr["low"])
    assert by["outside", "psnr"]["difference"] is None
    assert by["outside", "psnr"]["n"] == 0
    assert result.paired_comparisons(["one"]) == []


def test_nan_scores_are_counted_and_never_averaged(result: EvaluationResult) -> None:
    result.scores["one"][0] = math.nan
    result.scores["other"][1, 0] = math.inf
    rows = result.rows()
    broken = find_row(rows, "one", "10-20%", "psnr")
    assert (broken["value"], broken["low"], broken["n"], broken["nan"]) == (None, None, 19, 1)
    assert find_row(rows, "one", "20-30%", "psnr")["value"] is not None
    assert find_row(rows, "one", "all", "l1")["value"] is None
    infinite = find_row(rows, "other", "20-30%", "psnr")
    assert (infinite["n"], infinite["infinite"], infinite["nan"]) == (19, 1, 0)
    assert infinite["value"] == pytest.approx(float(result.scores["other"][5::4, 0].mean()))
    notes = result.notes()
    assert any("one: 1 of 80 outputs hold NaN" in note for note in notes)
    assert any("other: 1 of 80 samples are left out of the mean PSNR" in note for note in notes)
    values = {"a": result.scores["one"] * math.nan, "b": result.scores["other"]}
    all_nan = EvaluationResult(LPI, result.sample_names, result.image_names, result.mask_ratios, values)
    assert all((pair["difference"], pair["n"]) == (None, 0) for pair in all_nan.paired_comparisons(["a", "b"]))


def test_one_sample() -> None:
    one = EvaluationResult(
        LPI, ["a"], ["a"], torch.tensor([0.15], dtype=torch.float64), {"one": torch.ones(1, 3, dtype=torch.float64)}
    )
    row = find_row(one.rows(), "one", "10-20%", "psnr")
    assert (row["value"], row["n"], row["low"], row["high"]) == (1.0, 1, None, None)
    assert one.notes() == ["No 95 % intervals: the samples show 1 distinct image(s), and 5 are needed"]


def test_no_buckets_and_distribution_metrics() -> None:
    values = torch.rand(6, 3, dtype=torch.float64)
    fid = DistributionScore("fid_6", "", False, 12.5, 6, 3, note="fid_6: too few")
    failed = DistributionScore("kid", "", False, math.nan, 6, 3, std=0.5)
    result = EvaluationResult(
        find_protocol("deepgin"),
        [f"{number}.png" for number in range(6)],
        [f"{number}.png" for number in range(6)],
        torch.zeros(6, dtype=torch.float64),
        {"one": values, "other": values},
        {"one": [fid, failed], "other": [fid, failed]},
    )
    rows = result.rows()
    assert {row["bucket"] for row in rows} == {"all"}
    assert find_row(rows, "one", "all", "psnr")["value"] == pytest.approx(float(values[:, 0].mean()))
    assert find_row(rows, "other", "all", "fid_6")["value"] == 12.5
    assert find_row(rows, "other", "all", "fid_6")["num_images"] == 3
    assert find_row(rows, "other", "all", "kid")["value"] is None
    assert find_row(rows, "one", "all", "kid")["std"] == 0.5
    assert result.notes().count("fid_6: too few") == 1


def test_the_reason_for_infinite_scores_depends_on_the_metric() -> None:
    protocol = load_metrics(["psnr_hole", "l1_hole"]).extend(LPI)
    values = torch.ones(6, 5, dtype=torch.float64)
    values[0] = torch.tensor([math.inf, 1, 0, math.inf, math.inf])
    names = [f"{number}.png" for number in range(6)]
    notes = EvaluationResult(protocol, names, names, torch.zeros(6, dtype=torch.float64), {"one": values}).notes()
    perfect = "a perfect completion, for which it is infinite"
    assert [note.partition(" left out of the mean ")[2] for note in notes[1:]] == [
        f"PSNR: {perfect}",
        f"PSNR_HOLE: no hole or {perfect}",
        "L1_HOLE: no hole",
    ]


def test_many_images_are_resampled_less_often_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["lit_inpaint.metrics.bootstrap"], "_MAX_DRAWS", 30_000)
    names = [f"{number}.png" for number in range(10)]
    values = {"one": torch.rand(10, 3, dtype=torch.float64)}
    notes = EvaluationResult(LPI, names, names, torch.zeros(10, dtype=torch.float64), values).notes()
    assert any("percentiles of 3,000 or more bootstrap means over 10 images" in note for note in notes)


def test_a_nan_std_is_left_out() -> None:
    kid = DistributionScore("kid", "", False, math.nan, 6, 6, std=math.nan)
    values = {"one": torch.rand(6, 3, dtype=torch.float64)}
    names = [f"{number}.png" for number in range(6)]
    result = EvaluationResult(LPI, names, names, torch.zeros(6, dtype=torch.float64), values, {"one": [kid]})
    assert find_row(result.rows(), "one", "all", "kid")["std"] is None


def test_rows_are_json(result: EvaluationResult) -> None:
    rows = result.rows()
    assert json.loads(json.dumps(rows)) == rows
    assert len(rows) == 2 * 6 * 3
    assert list(rows[0])[:6] == ["method", "protocol", "bucket", "metric", "value", "n"]
    assert (rows[0]["method"], rows[0]["protocol"], rows[0]["bucket"], rows[0]["metric"]) == ("one", "lpi", "10-20%", "psnr")
