"""`python -m lit_inpaint.export`: files, report, model card; mistakes are one line and leave nothing behind."""

import errno
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import lit_inpaint
from lit_inpaint import export, papers
from lit_inpaint.errors import UserError
from lit_inpaint.exporting import export_network
from lit_inpaint.runs.model_folder import write_model_folder

ALL = ["--format", "onnx", "torch_export", "safetensors"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory's last.ckpt of a small U-Net, with a final evaluation."""
    torch.manual_seed(0)
    model = papers.UNet(widths=(4, 6)).eval()
    content: dict[str, Any] = {"state_dict": model.state_dict(), "global_step": 12}
    model.on_save_checkpoint(content)
    data = {"class_path": "lit_inpaint.data.Folder", "init_args": {"root": "secret/place", "size": 64, "batch_size": 4}}
    content["lit_inpaint"]["config"] = {"data": data}
    run = tmp_path_factory.mktemp("run")
    path = run / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    torch.save(content, path)
    row = {"protocol": "lpi", "bucket": "all", "metric": "psnr", "value": 21.25, "n": 40}
    rows = [{"method": "UNet", **row}, {"method": "mean color", **row, "value": 11.5}]
    (run / "final_evaluation.json").write_text(json.dumps({"images": "", "rows": rows}))
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    output = checkpoint.parents[1] / "exported"
    assert export.main(["--checkpoint", str(checkpoint), *ALL, "--license", "cc-by-4.0", "--output", str(output)]) == 0
    return output


def pictures(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(2, 3, height, width), (torch.rand(2, 1, height, width) < 0.3).float()


def test_an_export_has_all_files_and_nothing_else(exported: Path) -> None:
    names = {"README.md", "config.json", "export_report.json", "model.onnx", "model.pt2", "model.safetensors"}
    assert {path.name for path in exported.iterdir()} == names
    assert not list(exported.parent.glob(".*.part"))


def test_onnxruntime_alone_fills_images_of_any_size(exported: Path, checkpoint: Path) -> None:
    session, model = onnxruntime.InferenceSession(exported / "model.onnx"), lit_inpaint.load(checkpoint)
    assert [(value.name, value.shape[1]) for value in session.get_inputs()] == [("image", 3), ("mask", 1)]
    for height, width in ((64, 64), (33, 50), (81, 32)):
        image, mask = pictures(height, width)
        (completed,) = session.run(["completed"], {"image": image.numpy(), "mask": mask.numpy()})
        assert np.abs(completed - model.complete(image, mask).numpy()).max() <= 1e-5
        known = (mask == 0).expand_as(image).numpy()
        assert np.array_equal(completed[known], image.numpy()[known])


def test_a_torch_export_fills_images_of_any_size(exported: Path, checkpoint: Path) -> None:
    module, model = torch.export.load(exported / "model.pt2").module(), lit_inpaint.load(checkpoint)
    for size in ((64, 64), (33, 50)):
        image, mask = pictures(*size)
        torch.testing.assert_close(module(image, mask), model.complete(image, mask), atol=1e-5, rtol=0)


def test_a_model_folder_keeps_float32_weights(exported: Path, checkpoint: Path) -> None:
    image, mask = pictures(48, 48)
    assert torch.equal(lit_inpaint.load(exported).complete(image, mask), lit_inpaint.load(checkpoint).complete(image, mask))


def test_the_report_has_each_check(exported: Path) -> None:
    report = json.loads((exported / "export_report.json").read_text())
    assert report["paper"] == "lit_inpaint.papers.unet.UNet"
    assert [entry["format"] for entry in report["exports"]] == ["onnx", "torch_export", "safetensors"]
    for entry in report["exports"]:
        assert len({(check["height"], check["width"]) for check in entry["checks"]}) == 2
        assert all(check["max_abs_difference"] <= 1e-5 and check["unclamped_in_holes"] > 0.1 for check in entry["checks"])
    assert report["exports"][0]["custom_operators"] == []
    assert report["exports"][2]["weights"] == "float32"


def test_the_model_card_has_what_the_run_records(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    for text in (
        "library_name: lit_inpaint",
        "license: cc-by-4.0",
        "lit_inpaint.data.Folder",
        "| all | 40 | 21.25 |",
        "12 batches",
    ):
        assert text in card
    assert "secret/place" not in card
    assert "11.5" not in card


def test_the_current_folder_as_the_output(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder := tmp_path / "here").mkdir()
    monkeypatch.chdir(folder)
    assert export.main(["--checkpoint", str(checkpoint), "--format", "safetensors", "--output", "."]) == 0
    names = {"README.md", "config.json", "export_report.json", "model.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    assert list(tmp_path.iterdir()) == [folder]


def test_the_card_of_a_model_folder_is_kept(exported: Path, tmp_path: Path) -> None:
    assert export.main(["--checkpoint", str(exported), "--format", "safetensors", "--output", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "README.md").read_text() == (exported / "README.md").read_text()


def test_a_card_that_is_no_text_is_one_line(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    argv = ["--checkpoint", str(folder), "--format", "safetensors", "--output", str(tmp_path / "out")]
    (folder / "README.md").write_bytes(b"M\xfcller")
    with pytest.raises(UserError, match=r"cannot keep the model card \S+README\.md \(it is not UTF-8\); correct it, or name a"):
        export.main(argv)
    assert not (tmp_path / "out").exists()


def test_a_final_evaluation_of_another_program_is_left_out(checkpoint: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(checkpoint.parents[1], tmp_path / "run"))
    file = run / "final_evaluation.json"
    rows = json.loads(file.read_text())["rows"]
    file.write_text(json.dumps({"rows": [*rows, rows[0] | {"metric": {"a": 1}}, rows[0] | {"bucket": ["x"]}]}))
    argv = [
        "--checkpoint",
        str(run / "checkpoints" / "last.ckpt"),
        "--format",
        "safetensors",
        "--output",
        str(tmp_path / "out"),
    ]
    assert export.main(argv) == 0
    assert "| all | 40 | 21.25 |" in (tmp_path / "out" / "README.md").read_text()


def test_weights_that_float16_holds_exactly_are_written_so(tmp_path: Path) -> None:
    model = papers.UNet(widths=(4,))
    content: dict[str, Any] = {}
    model.on_save_checkpoint(content)
    write_model_folder(model, content["lit_inpaint"], 1, tmp_path / "half")
    arguments = ["--checkpoint", str(tmp_path / "half"), "--format", "safetensors", "--output", str(tmp_path / "again")]
    assert export.main(arguments) == 0
    card = (tmp_path / "again" / "README.md").read_text()
    assert "Not stated. The owner of the weights" in card
    again, half = (tmp_path / name / "model.safetensors" for name in ("again", "half"))
    assert again.read_bytes() == half.read_bytes()


@pytest.mark.parametrize("data", [{}, {"size": 64}, {"class_path": 3}, ["x"], "x", {"class_path": "a.B", "init_args": [1]}])
def test_a_record_of_data_that_was_edited_makes_no_card_impossible(data: Any, checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["lit_inpaint"]["config"] = {"data": data}
    torch.save(content, tmp_path / "edited.ckpt")
    arguments = ["--checkpoint", str(tmp_path / "edited.ckpt"), "--format", "safetensors", "--output", str(tmp_path / "out")]
    assert export.main(arguments) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "## Data" in card
    assert ("Not recorded." in card) == (not isinstance(data, dict) or data.get("class_path") != "a.B")


def test_one_file_has_its_report_beside_it_and_a_fixed_size(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "small.onnx"
    assert export.main(["--checkpoint", str(checkpoint), "--size", "40", "--opset", "19", "--output", str(output)]) == 0
    assert sorted(path.name for path in output.parent.iterdir()) == ["small.json", "small.onnx"]
    session = onnxruntime.InferenceSession(output)
    assert session.get_inputs()[0].shape[1:] == [3, 40, 40]
    assert json.loads((output.parent / "small.json").read_text())["exports"][0]["opset"] == 19


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "tflite"], "--format has no 'tflite'; there are onnx, torch_export, safetensors"),
        (["--format", "onx"], "did you mean 'onnx'"),
        (["--output", "model.pth"], "model.pth must be a folder, or a file that ends with .onnx or .pt2"),
        (
            ["--output", "net.txt"],
            "net.txt must be a folder, or a file that ends with .onnx or .pt2; if it is a folder, end it",
        ),
        (["--output", "model.onnx", *ALL], "model.onnx holds onnx alone; name a folder"),
        (["--format", "torch_export", "--opset", "18"], "--opset goes with --format onnx"),
        (["--license", "mit"], "--license goes with the model card"),
        (["--format", "safetensors", "--license", ""], "--license '' is no identifier of a license, such as apache-2.0"),
        (["--format", "safetensors", "--license", "mit\ntags: [x]"], r"--license 'mit\ntags: [x]' is no identifier"),
        (["--format", "safetensors", "--size", "64"], "--size goes with --format onnx or torch_export"),
        (["--opset", "3"], "at least 18"),
        (["--size", "big"], "--size"),
        (["--checkpoint", "other.pth"], "other.pth is not a checkpoint of lit_inpaint"),
        (["--checkpoint", "broken.ckpt"], "broken.ckpt cannot be read as a checkpoint"),
        (["--checkpoint", "nothing.ckpt"], "no checkpoint at"),
        (["--output", "there"], "there/model.onnx exists; remove it, or name another --output"),
        (["--output", "other.pth/model"], "other.pth is a file, not a folder"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(3)}, "other.pth")
    Path("broken.ckpt").write_bytes(b"PK not a checkpoint")
    Path("there").mkdir()
    Path("there/model.onnx").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        export.main([*arguments, *([] if "--output" in arguments else ["--output", "new"])])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failed_check_writes_nothing(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_network, "TOLERANCE", -1.0)
    arguments = ["--checkpoint", str(checkpoint), "--size", "32", "--format", "torch_export", "--output", str(tmp_path / "new")]
    with pytest.raises(UserError, match=r"^torch_export of UNet failed: differs from the network by .* at 32x32"):
        export.main(arguments)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"cannot write .*new \(No space left on device\); nothing was exported"):
        export.main(["--checkpoint", str(checkpoint), "--format", "safetensors", "--output", str(tmp_path / "new")])
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    with pytest.raises(UserError, match=r"^ONNX needs onnxscript; install them: pip install 'lit_inpaint\[export\]'$"):
        export.main(["--checkpoint", str(checkpoint), "--output", str(tmp_path / "new")])
