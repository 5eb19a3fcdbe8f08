from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lit_inpaint.data import ResizedCenterCrop
from lit_inpaint.data.datamodule import FloatDataLoader
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.data.inpainting_dataset import EvalDataset, collate
from lit_inpaint.data.unreadable_images import ImageStore
from lit_inpaint.evaluation.comparison_grid import draw_comparison_grid
from lit_inpaint.evaluation.comparison_tables import build_table, print_table
from lit_inpaint.evaluation.comparison_text import describe_comparison, describe_pairs
from lit_inpaint.evaluation.evaluator import apply_subsampling, evaluate
from lit_inpaint.masks import Center
from lit_inpaint.metrics import LPI, PairedComparison, ScoreRow, find_protocol
from lit_inpaint.visualization import grids


def rows(**values: tuple[float | None, ...]) -> list[ScoreRow]:
    """PSNR, SSIM and L1 of each method in the protocol's buckets; the same number for all three."""
    return [
        {
            "method": name,
            "protocol": "lpi",
            "bucket": bucket.label,
            "metric": measure.name,
            "value": value,
            "n": int(value is not None),
        }
        for name, column in values.items()
        for bucket, value in zip(LPI.buckets, column, strict=True)
        for measure in LPI.metrics
    ]


def test_ahead_level_and_behind() -> None:
    found = rows(ours=(3.0, 2.0, 1.0, None), theirs=(2.0, 2.0, 2.0, None), same=(3.0, 2.0, 1.0, None))
    assert describe_comparison(found, LPI, "ours") == [
        "ours against theirs by PSNR: ahead at 10-20%; level at 20-30%; behind at 30-40%",
        "ours against same by PSNR: nowhere ahead; level at 10-20%, 20-30%, 30-40%",
    ]
    assert describe_comparison(found, LPI, "ours", "l1")[0] == (
        "ours against theirs by L1: ahead at 30-40%; level at 20-30%; behind at 10-20%"
    )


def test_where_there_are_no_ranges_of_damage_none_is_named() -> None:
    protocol = find_protocol("deepgin")
    found: list[ScoreRow] = [
        {"method": name, "protocol": "deepgin", "bucket": "all", "metric": "psnr", "value": value, "n": 2}
        for name, value in (("ours", 1.0), ("theirs", 2.0))
    ]
    assert describe_comparison(found, protocol, "ours") == ["ours against theirs by PSNR: behind"]


def test_pairs_in_words() -> None:
    shared: PairedComparison = {
        "method": "a",
        "other": "b",
        "protocol": "lpi",
        "bucket": "10-20%",
        "metric": "psnr",
        "difference": 0.5,
        "low": 0.25,
        "high": 0.75,
        "ahead": 0.8,
        "level": 0.0,
        "n": 1200,
    }
    few: PairedComparison = {**shared, "bucket": "20-30%", "difference": -0.5, "low": None, "high": None, "n": 3}
    nothing: PairedComparison = {
        **shared,
        "bucket": "30-40%",
        "difference": None,
        "low": None,
        "high": None,
        "ahead": None,
        "n": 0,
    }
    unshown: list[PairedComparison] = [{**shared, "bucket": "outside"}, {**shared, "metric": "ssim"}]
    assert describe_pairs([shared, few, nothing, *unshown], LPI) == [
        "a - b, PSNR sample by sample: 10-20%: +0.500 [+0.250, +0.750] dB, ahead on 80% of 1,200; 20-30%: -0.500 dB, ahead on "
        "80% of 3; 30-40%: no sample that both have a score of"
    ]


def test_large_images_are_taken_apart_where_the_protocol_says_so() -> None:
    seen = []

    def method(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(image.shape))
        return image

    image, mask = torch.rand(2, 3, 512, 512), torch.zeros(2, 1, 512, 512)
    filled = apply_subsampling(find_protocol("deepgin"), method)(image, mask)
    assert seen == [(1, 3, 256, 256)] * 8
    assert torch.allclose(filled, image, atol=1e-5)
    apply_subsampling(find_protocol("deepgin"), method)(image[..., :256, :256], mask[..., :256, :256])
    assert seen[-1] == (2, 3, 256, 256)
    assert apply_subsampling(LPI, method) is method


def test_the_table_in_a_narrow_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    name = "A method with quite a long name " * 4
    print_table(build_table(rows(**{name: (3.0, 2.0, 1.0, 0.5)}), LPI, "title"))
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines if line.startswith(("│", "├", "┃"))}) == 1
    assert sum(name.strip() in line for line in lines) == 4


@pytest.mark.parametrize(
    ("crops", "masks", "suffixes"),
    [(1, 1, [""]), (2, 1, [" @0", " @1"]), (1, 2, [" #0", " #1"]), (2, 2, [" @0 #0", " @0 #1", " @1 #0", " @1 #1"])],
)
def test_samples_of_one_picture_are_known_whatever_files_are_called(
    crops: int, masks: int, suffixes: list[str], tmp_path: Path
) -> None:
    stems = ["a #1", "a #2", "a @1", "b"]
    for stem in stems:
        Image.new("RGB", (16, 16)).save(tmp_path / f"{stem}.png")
    shelf = ImageStore(ImageFiles.from_names(tmp_path, [f"{stem}.png" for stem in stems]), "stop", cache=False)
    photos = EvalDataset(shelf, 16, ResizedCenterCrop(), [Center()] * masks, 0, crops)
    loader = FloatDataLoader(photos, 4, collate_fn=collate)
    scores = evaluate({"copy": lambda image, mask: image + 0.1}, loader, LPI, torch.device("cpu"))
    assert sorted(scores.names) == sorted(stem + suffix for stem in stems for suffix in suffixes)
    for name, picture in zip(scores.names, scores.pictures, strict=True):
        assert name in [picture + suffix for suffix in suffixes]
    assert sorted(scores.pictures) == sorted(stems * len(suffixes))
    assert {row["pictures"] for row in scores.rows() if row["bucket"] == "all"} == {4}


def test_a_log_file_is_not_flooded_by_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    batch = {"image": torch.rand(1, 3, 16, 16), "mask": torch.ones(1, 1, 16, 16), "name": ["a"]}
    loader = DataLoader([batch] * 50, batch_size=None)
    scores = evaluate({"copy": lambda image, mask: image}, loader, LPI, torch.device("cpu"))
    assert (len(scores.names), scores.values["copy"].shape) == (50, (50, 3))
    assert capsys.readouterr().err.count("evaluation") <= 1


def test_the_grid_shows_the_chosen_samples_composited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten samples in batches of four, three rows: samples 0, 4 and 8 (0, 3 + 1, 6 + 2)."""
    images = torch.arange(10).view(10, 1, 1, 1).expand(10, 3, 4, 4) / 10
    mask = torch.zeros(1, 4, 4)
    mask[:, 1:3, 1:3] = 1
    samples = [{"image": image, "mask": mask, "name": f"folder/{i}.png"} for i, image in enumerate(images)]
    shown = []
    monkeypatch.setattr(grids, "draw_grid", lambda rows, columns, title: shown.append((rows, columns, title)))
    methods = {"grey": lambda image, mask: torch.full_like(image, 0.5), "wild": lambda image, mask: 7 - image}
    draw_comparison_grid(methods, DataLoader(samples, 4), 3, "all", torch.device("cpu"))
    ((rows_drawn, columns, title),) = shown
    assert (columns, title) == (["masked input", "grey", "wild", "target"], "all")
    assert [row.label for row in rows_drawn] == ["0.png\nmask ratio 25%", "4.png\nmask ratio 25%", "8.png\nmask ratio 25%"]
    for row, i in zip(rows_drawn, (0, 4, 8), strict=True):
        masked, grey, wild, target = row.images
        assert torch.equal(target, images[i])
        for picture, value in ((masked, 1.0), (grey, 0.5), (wild, 1.0)):
            assert torch.equal(picture, torch.where(mask > 0.5, value, images[i]))
