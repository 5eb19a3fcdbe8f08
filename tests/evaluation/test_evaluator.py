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
from lit_inpaint.evaluation.evaluator import apply_subsampling, evaluate
from lit_inpaint.masks import Center
from lit_inpaint.metrics import LPI, find_protocol


def test_large_images_are_subsampled_if_the_protocol_requires_it() -> None:
    shapes = []

    def method(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(image.shape))
        return image

    image, mask = torch.rand(2, 3, 512, 512), torch.zeros(2, 1, 512, 512)
    completed = apply_subsampling(find_protocol("deepgin"), method)(image, mask)
    assert shapes == [(1, 3, 256, 256)] * 8
    assert torch.allclose(completed, image, atol=1e-5)
    apply_subsampling(find_protocol("deepgin"), method)(image[..., :256, :256], mask[..., :256, :256])
    assert shapes[-1] == (2, 3, 256, 256)
    assert apply_subsampling(LPI, method) is method


@pytest.mark.parametrize(
    ("crops", "masks", "suffixes"),
    [(1, 1, [""]), (2, 1, [" @0", " @1"]), (1, 2, [" #0", " #1"]), (2, 2, [" @0 #0", " @0 #1", " @1 #0", " @1 #1"])],
)
def test_samples_of_one_image_are_recognized_for_any_file_name(
    crops: int, masks: int, suffixes: list[str], tmp_path: Path
) -> None:
    stems = ["a #1", "a #2", "a @1", "b"]
    for stem in stems:
        Image.new("RGB", (16, 16)).save(tmp_path / f"{stem}.png")
    store = ImageStore(ImageFiles.from_names(tmp_path, [f"{stem}.png" for stem in stems]), "stop", cache=False)
    dataset = EvalDataset(store, 16, ResizedCenterCrop(), [Center()] * masks, 0, crops)
    loader = FloatDataLoader(dataset, 4, collate_fn=collate)
    result = evaluate({"copy": lambda image, mask: image + 0.1}, loader, LPI, torch.device("cpu"))
    assert sorted(result.sample_names) == sorted(stem + suffix for stem in stems for suffix in suffixes)
    for name, image_name in zip(result.sample_names, result.image_names, strict=True):
        assert name in [image_name + suffix for suffix in suffixes]
    assert sorted(result.image_names) == sorted(stems * len(suffixes))
    assert {row["num_images"] for row in result.rows() if row["bucket"] == "all"} == {4}


def test_the_progress_bar_writes_few_lines_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    batch = {"image": torch.rand(1, 3, 16, 16), "mask": torch.ones(1, 1, 16, 16), "name": ["a"]}
    loader = DataLoader([batch] * 50, batch_size=None)
    result = evaluate({"copy": lambda image, mask: image}, loader, LPI, torch.device("cpu"))
    assert (len(result.sample_names), result.scores["copy"].shape) == (50, (50, 3))
    assert capsys.readouterr().err.count("evaluation") <= 1
