import math
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from run_directories import GRID_SCORES, sample_grid

from lit_inpaint.callbacks import SampleGrids
from lit_inpaint.errors import UserError
from lit_inpaint.metrics import psnr, round_uint8
from lit_inpaint.reporting.sample_grids import cut_grid, read_grid
from lit_inpaint.reporting.worst_and_best import worst_and_best
from lit_inpaint.visualization.grids import read_scores


def test_cut_a_grid_and_rank_its_rows() -> None:
    """The order is that of the recorded scores, not of what 160 pixels show."""
    examples = cut_grid(sample_grid(30), GRID_SCORES)
    assert [example.target.size for example in examples] == [(160, 160)] * 4
    assert [example.scores for example in examples] == [
        {"psnr": row["psnr"], "mask_ratio": row["mask_ratio"]} for row in GRID_SCORES
    ]
    worst, best = worst_and_best(examples, 3)
    assert [example.name for example in worst] == ["image 3", "image 2"]
    assert [example.name for example in best] == ["image 0", "image 1"]
    reverse = [{**row, "psnr": -float(row["psnr"])} for row in GRID_SCORES]
    assert [example.name for example in worst_and_best(cut_grid(sample_grid(30), reverse), 1)[0]] == ["image 0"]
    nan = [{**row, "psnr": math.nan if number == 1 else 0.0} for number, row in enumerate(GRID_SCORES)]
    assert [example.name for example in worst_and_best(cut_grid(sample_grid(30), nan), 1)[0]] == ["image 1"]


def test_the_ranking_is_of_the_images_in_full_size(tmp_path: Path) -> None:
    """Noise of one pixel disappears in a thumbnail of a 640x640 image: there, the noisy row is the better one."""
    names, size = ["noise", "offset"], 640
    image = torch.full((2, 3, size, size), 0.5)
    noise = 0.2 * torch.where(torch.arange(size).view(1, -1) % 2 == torch.arange(size).view(-1, 1) % 2, 1.0, -1.0)
    output = torch.stack([image[0] + noise, image[1] + 0.1])
    trainer = cast(Any, SimpleNamespace(
        val_dataloaders=SimpleNamespace(sampler=range(2)), is_global_zero=True, global_step=7, loggers=[]
    ))  # fmt: skip
    callback, batch = SampleGrids(tmp_path, 2), {"image": image, "mask": torch.ones(2, 1, size, size), "name": names}
    callback.on_validation_start(trainer, cast(Any, None))
    callback.on_validation_batch_end(trainer, cast(Any, None), {"image": output}, batch, 0)
    callback.on_validation_epoch_end(trainer, cast(Any, None))
    path = tmp_path / "step_0000007.png"
    examples = cut_grid(read_grid(path), read_scores(path))
    assert [example.target.size for example in examples] == [(160, 160)] * 2
    expected = psnr(round_uint8(output), round_uint8(image)).tolist()
    assert [example.scores["psnr"] for example in examples] == pytest.approx(expected)
    assert [example.scores["mask_ratio"] for example in examples] == [1, 1]
    assert [example.name for example in worst_and_best(examples, 1)[0]] == ["noise"]


@pytest.mark.parametrize("stages", [1, 2])
def test_columns_of_stages_are_left_out(stages: int) -> None:
    plain, found = (cut_grid(sample_grid(30, stages=number), GRID_SCORES) for number in (0, stages))
    assert [example.scores for example in found] == [example.scores for example in plain]
    for one, other in zip(found, plain, strict=True):
        assert one.masked.tobytes() == other.masked.tobytes()


def test_another_layout_has_no_examples() -> None:
    assert cut_grid(Image.new("RGB", (300, 200), "white"), GRID_SCORES) == []
    assert cut_grid(sample_grid(30), GRID_SCORES[:3]) == []
    assert cut_grid(sample_grid(30), []) == []


def test_other_images_record_no_scores(tmp_path: Path) -> None:
    sample_grid(30).save(tmp_path / "plain.png")
    assert read_scores(tmp_path / "plain.png") == []


@pytest.mark.parametrize(
    "text", ["{", "3", "[3]", '[{"name": "a"}]', '[{"name": "a", "psnr": "x", "mask_ratio": 1}]', "[" * 5000]
)
def test_scores_of_a_damaged_grid_are_none(text: str, tmp_path: Path) -> None:
    chunk = PngInfo()
    chunk.add_text("lit_inpaint:rows", text)
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png", pnginfo=chunk)
    assert read_scores(tmp_path / "a.png") == []
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    assert read_scores(tmp_path / "a.png") == []


def test_a_grid_of_too_many_pixels_is_an_error_of_one_line(tmp_path: Path) -> None:
    Image.new("1", (8, 8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + content[24:29]
    (tmp_path / "a.png").write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    with pytest.raises(
        UserError, match=r"cannot read \S+a.png as an image \(DecompressionBombError.*; delete this sample grid"
    ):
        read_grid(tmp_path / "a.png")
