"""Weights in every form that people have them become a checkpoint that every command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import lit_inpaint
from lit_inpaint import convert, evaluate, inpaint
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.papers import ContextEncoder, LPINet, WaveMix
from lit_inpaint.runs.init_from import init_from

SMALL: dict[str, Any] = {"modules": 2, "blocks": 1, "dimension": 8}
WAVEMIX = ["--model.class_path", "lit_inpaint.papers.WaveMix", "--model.modules", "2", "--model.blocks", "1"]
WAVEMIX += ["--model.dimension", "8"]


@pytest.fixture(scope="module")
def generator() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {name: value.clone() for name, value in WaveMix(**SMALL).generator.state_dict().items()}


def public_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of WaveMix's public code."""
    names = {"wavemix_modules.": "layers.", "blocks": "layers", "head": "decoder2.0", ".stem.": ".conv."}
    names |= {".feed_forward.": ".feedforward.", ".deconvolution.0.": ".ff1.", ".depthwise.": ".depthconv."}
    found = {}
    for name, value in state.items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        found[name] = value
    return found


def forms(state: dict[str, Tensor]) -> dict[str, object]:
    """What a file may hold, by its name."""
    return {
        "raw.pth": state,
        "raw.safetensors": state,
        "data_parallel.pth": {f"module.{name}": value for name, value in state.items()},
        "lightning.ckpt": {
            "state_dict": {
                **{f"generator.{name}": value for name, value in state.items()},
                "discriminator.conv.weight": torch.zeros(3),
                "loss.vgg.0.weight": torch.zeros(3),
            },
            "global_step": 1234,
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
        },
        "both_prefixes.ckpt": {"state_dict": {f"module.generator.{name}": value for name, value in state.items()}},
        "ema.pt": {"model": {name: value + 1 for name, value in state.items()}, "model_ema": state, "epoch": 3},
        "half.pth": {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
        "old.pth": {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
    }


def save(content: Any, path: Path) -> Path:
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    return path


@pytest.mark.parametrize("name", forms({}))
def test_every_form_is_found(
    name: str, generator: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, output = save(forms(generator)[name], tmp_path / name), tmp_path / "out" / "x.ckpt"
    assert convert.main([str(file), *WAVEMIX, "--output", str(output)]) == 0
    assert "are the weights of WaveMix (" in capsys.readouterr().out
    model = lit_inpaint.load(output)
    assert isinstance(model, WaveMix)
    tolerance = 1e-3 if name == "half.pth" else 0
    for key, value in model.generator.state_dict().items():
        torch.testing.assert_close(value, generator[key], rtol=tolerance, atol=tolerance, check_dtype=False)
    assert torch.load(output, weights_only=True)["global_step"] == (1234 if name == "lightning.ckpt" else 0)


def test_names_of_the_public_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(3)
    model = WaveMix(**SMALL, variant="official")
    public = public_names(model.generator.state_dict())
    state = {f"module.{name}": value for name, value in public.items()}
    save({"state_dict": state}, tmp_path / "x.pth")
    assert (
        convert.main([str(tmp_path / "x.pth"), *WAVEMIX, "--model.variant", "official", "--output", str(tmp_path / "x.ckpt")])
        == 0
    )
    assert "under state_dict/module. are the weights of WaveMix (public code)" in capsys.readouterr().out
    for key, value in lit_inpaint.load(tmp_path / "x.ckpt").generator.state_dict().items():
        assert torch.equal(value, model.generator.state_dict()[key])


def test_initial_weights_of_a_discriminator_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = {"size": 16, "overlap": 1, "width": 4, "bottleneck": 8, "discriminator_width": 4}
    model = ContextEncoder(**small)
    arguments = [f"--model.{name}={value}" for name, value in small.items()]
    for prefix, kind in (("main.", "public code"), ("", "generator")):
        save({f"{prefix}{name}": value for name, value in model.generator.state_dict().items()}, tmp_path / "x.pth")
        command = [str(tmp_path / "x.pth"), "--model.class_path", "lit_inpaint.papers.ContextEncoder", *arguments]
        assert convert.main([*command, "--output", str(tmp_path / "x.ckpt")]) == 0
        printed = capsys.readouterr().out
        assert f"({kind})" in printed
        assert "the discriminator has initial weights" in printed


def test_the_checkpoint_works_in_every_command(tmp_path: Path, write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """All networks of a paper, with the experiment whose data `evaluate` then uses."""
    torch.manual_seed(3)
    model, output = LPINet(), tmp_path / "x.ckpt"
    file = save({"state_dict": {f"model.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "x.pt")
    assert convert.main([str(file), "--experiment", "lpi_demo", "--output", str(output)]) == 0
    assert "(all networks)" in capsys.readouterr().out
    loaded = lit_inpaint.load(output)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    assert init_from(LPINet(), output)[0].startswith(f"Initialized from {output} (LPINet, step 0)")
    quick = ["--data.val_crops", "1", "--data.size", "32", "--output", str(tmp_path / "t.json")]
    assert evaluate.main(["--checkpoint", str(output), *quick]) == 0
    write("image.png", 1, (40, 30))
    mask = np.zeros((30, 40), np.uint8)
    mask[5:15, 5:15] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    argv = ["--checkpoint", str(output), "--images", str(tmp_path / "image.png"), "--masks", str(tmp_path / "mask.png")]
    assert inpaint.main([*argv, "--output", str(tmp_path / "done")]) == 0
    assert len(list((tmp_path / "done").iterdir())) == 1


def test_a_wrong_variant_is_one_line_with_counts(generator: dict[str, Tensor], tmp_path: Path) -> None:
    file, output = save({f"module.{k}": v for k, v in generator.items()}, tmp_path / "x.pth"), tmp_path / "x.ckpt"

    def refused(*options: str, name: Path = file) -> str:
        with pytest.raises(UserError) as caught:
            convert.main([str(name), *options, "--output", str(output)])
        assert "\n" not in str(caught.value)
        return str(caught.value)

    wrong = refused(*WAVEMIX, "--model.dimension", "16")
    assert wrong.startswith(f"{file} does not fit this WaveMix; closest as generator under module.: ")
    shapes = {name: value.shape for name, value in WaveMix(**{**SMALL, "dimension": 16}).generator.state_dict().items()}
    count = sum(generator[name].shape != shape for name, shape in shapes.items())
    assert f": {count} of another shape (" in wrong
    assert wrong.endswith("another variant needs other --model.… settings")
    deeper = refused(*WAVEMIX, "--model.blocks", "2")
    missing = len(set(WaveMix(**{**SMALL, "blocks": 2}).generator.state_dict()) - generator.keys())
    counters = sum(name.endswith("num_batches_tracked") for name in WaveMix(**{**SMALL, "blocks": 2}).generator.state_dict())
    counters -= sum(name.endswith("num_batches_tracked") for name in generator)
    assert f"{missing - counters} missing (" in deeper
    assert not output.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a file of weights", "cannot be read; if it is a checkpoint with objects of another program"),
        ({"epoch": 3}, "holds no state dict"),
        ({"model": Inpainter}, "cannot be read; .* save its state dict alone"),
    ],
)
def test_other_files_are_one_line(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=message):
        convert.main([str(path), *WAVEMIX, "--output", str(tmp_path / "x.ckpt")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["x.pth", "--output", "x.ckpt"], "name the paper: --experiment NAME, or --model.class_path"),
        (["x.pth", *WAVEMIX, "--output", "x.pth"], "must end with .ckpt"),
        (["x.pth", *WAVEMIX, "--output", "x.ckpt", "--papr", "3"], "unknown option --papr"),
        (["none.pth", *WAVEMIX, "--output", "x.ckpt"], "no weights at none.pth"),
        (["none.pth", *WAVEMIX, "--output", "/proc/x.ckpt"], "cannot write into /proc"),
        (["none.pth", *WAVEMIX, "--output", ""], "--output is empty; is a variable of the shell not set"),
    ],
)
def test_mistakes(options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        convert.main(options)
    assert not list(tmp_path.iterdir())
