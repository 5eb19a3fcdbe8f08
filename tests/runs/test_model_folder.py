import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lit_inpaint
from lit_inpaint import evaluate, inpaint, papers
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.runs.checkpoint_file import read_checkpoint, rebuild
from lit_inpaint.runs.model_folder import CONFIG, WEIGHTS, find_model_folder, write_model_folder


def written(model: Inpainter, folder: Path) -> Path:
    checkpoint: dict[str, dict[str, object]] = {}
    model.on_save_checkpoint(checkpoint)
    write_model_folder(model, checkpoint["lit_inpaint"], 7, folder)
    return folder


def test_a_generator_comes_back_in_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = papers.PEPSI(size=32, width=4, discriminator_width=8).eval()
    folder = written(model, tmp_path / "model")
    loaded = lit_inpaint.load(folder)
    assert type(loaded) is papers.PEPSI
    for name, value in model.generator.state_dict().items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(loaded.generator.state_dict()[name], expected)
    assert read_checkpoint(folder)["global_step"] == read_checkpoint(folder / WEIGHTS)["global_step"] == 7
    assert not [name for name in load_file(folder / WEIGHTS) if "discriminator" in name]


def test_the_size_of_the_training_images_is_kept(tmp_path: Path) -> None:
    model = papers.PEPSI(size=32, width=4, discriminator_width=8).eval()
    assert lit_inpaint.load(written(model, tmp_path / "unknown")).trained_size is None
    model.trained_size = 96
    assert lit_inpaint.load(written(model, tmp_path / "known")).trained_size == 96
    assert lit_inpaint.load().trained_size == 128


@pytest.mark.parametrize(
    ("data", "size"),
    [
        ({"init_args": {"size": 64}}, 64),
        ({"init_args": {"size": 64, "mix": {"folders": [{"size": 256}, {"size": 128}]}}}, 256),
        ({"init_args": {"size": 64, "mix": None}}, 64),
        ({"init_args": {"size": "64"}}, None),
        ({"init_args": None}, None),
        (None, None),
    ],
)
def test_the_largest_training_images_of_a_run_count(data: object, size: int | None) -> None:
    checkpoint: dict[str, dict[str, object]] = {}
    model = papers.PEPSI(size=32, width=4, discriminator_width=8)
    model.on_save_checkpoint(checkpoint)
    checkpoint["lit_inpaint"]["config"] = {"data": data}
    assert rebuild({**checkpoint, "state_dict": model.state_dict()}, "x.ckpt").trained_size == size


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no weights", "cannot be read as a model"),
        ("truncated", "cannot be read as a model"),
        ("not json", "cannot be read as a model"),
        ("of another library", "is not of lit_inpaint"),
        ("other settings", "the weights in .* do not fit"),
        ("a class of nobody", "names os_of_nobody.Paper, which is not of lit_inpaint"),
    ],
)
def test_a_damaged_folder_is_one_line(fault: str, message: str, tmp_path: Path) -> None:
    folder = written(papers.PConv(levels=2, width=4), tmp_path / "model")
    weights, config = folder / WEIGHTS, folder / CONFIG
    content = json.loads(config.read_text())
    if fault == "no weights":
        weights.unlink()
    elif fault == "truncated":
        weights.write_bytes(weights.read_bytes()[:200])
    elif fault == "not json":
        config.write_text("{")
    elif fault == "of another library":
        config.write_text('{"model_type": "bert"}')
    elif fault == "other settings":
        content["lit_inpaint"]["settings"]["width"] = 8
        config.write_text(json.dumps(content))
    else:
        content["lit_inpaint"]["paper"] = "os_of_nobody.Paper"
        config.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        lit_inpaint.load(folder)
    assert "\n" not in str(caught.value)


def test_the_network_of_the_package_is_small_and_used_without_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = find_model_folder(Path("shipped"))
    assert folder is not None
    assert (folder / WEIGHTS).stat().st_size < 12e6
    assert {"license", "datasets", "metrics"} <= {
        line.partition(":")[0] for line in (folder / "README.md").read_text().splitlines()
    }
    model = lit_inpaint.load()
    image = torch.linspace(0, 1, 48).expand(1, 3, 48, 48).contiguous()
    mask = torch.zeros(1, 1, 48, 48)
    mask[..., 16:28, 20:30] = 1
    error = (model.complete(image, mask) - image).abs()
    assert float(error[mask.expand_as(error) == 1].mean()) < 0.03, "a smooth ramp is continued"
    from torchvision.utils import save_image

    save_image(image, tmp_path / "x.png")
    save_image(mask, tmp_path / "mask.png")
    places = ["--images", str(tmp_path / "x.png"), "--masks", str(tmp_path / "mask.png"), "--output", str(tmp_path / "out")]
    assert inpaint.main(places) == 0
    assert "1 image inpainted by ResidualUNet" in capsys.readouterr().out
    arguments = ["--checkpoint", "shipped", "--experiment", "lpi_demo", "--data.val_crops", "1", "--data.workers", "0"]
    assert evaluate.main([*arguments, "--output", str(tmp_path / "table.json")]) == 0
    assert "ResidualUNet" in capsys.readouterr().out
