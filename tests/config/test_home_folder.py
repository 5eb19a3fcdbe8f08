"""A leading `~` is the home folder in every option and setting that names a file: shells leave it in `--key=~/x` and YAML."""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lit_inpaint
from lit_inpaint.config import fit_options
from lit_inpaint.config.command_line import CommandParser
from lit_inpaint.data import ADE20K, Folder, ListFile
from lit_inpaint.data.train_mix import TrainFolder
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.external_results import parse_results
from lit_inpaint.losses.segmentation_features import SegmentationFeatures
from lit_inpaint.masks import PerImageMasks, RandomFromFolder
from lit_inpaint.runs.checkpoint_file import read_checkpoint

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_settings_of_the_data(home: Path, write: Write) -> None:
    for number in range(3):
        write(f"images/{number}.png", number)
    (home / "list.txt").write_text("~/images/0.png\nimages/1.png\n")
    assert len(Folder("~/images").splits().train) == 2
    listed = ListFile(train="~/list.txt").splits()
    assert len({*listed.train, *listed.val}) == 2
    write("ade/ADEChallengeData2016/images/training/ADE_train_00000001.jpg")
    (home / "subset.txt").write_text("ADE_train_00000001\n")
    assert len(ADE20K("~/ade", subset="~/subset.txt").splits().train) == 1
    assert TrainFolder("~/images", size=8, batch_size=1).root == str(home / "images")


def test_masks_and_networks(home: Path, write: Write) -> None:
    write("masks/0.png", mode="L")
    PerImageMasks("~/masks").check(["0"])
    assert RandomFromFolder("~/masks")((20, 24), torch.Generator()).shape == (1, 20, 24)
    with pytest.raises(UserError, match=f"at {home}/weights"):
        SegmentationFeatures(file="~/weights").load()
    with pytest.raises(UserError, match=f"at {home}/no.ckpt"):
        read_checkpoint("~/no.ckpt")
    assert parse_results(["a=~/results"]) == {"a": home / "results"}


def test_options_of_every_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option whose placeholder is a file or folder is given as `--option=~/x`."""
    parsers: list[CommandParser] = []
    original = CommandParser.__init__

    def spy(self: CommandParser, *args: str) -> None:
        original(self, *args)
        parsers.append(self)

    monkeypatch.setattr(CommandParser, "__init__", spy)
    fit_options.parse([])
    for module in pkgutil.iter_modules(lit_inpaint.__path__):
        if hasattr(command := importlib.import_module(f"lit_inpaint.{module.name}"), "_parser"):
            command._parser()
    seen = []
    for parser in parsers:
        for required in (*parser._actions, *parser._mutually_exclusive_groups):
            required.required = False
        for action in parser._actions:
            placeholder = str(action.metavar)
            if not any(word in placeholder for word in ("FILE", "DIR")) or "=" in placeholder or not action.option_strings:
                continue
            found = getattr(parser.parse_known_args([f"{action.option_strings[0]}=~/x"])[0], action.dest)
            assert found in (f"{home}/x", [f"{home}/x"]), (parser.prog, action.dest)
            seen.append(action.dest)
    assert {"checkpoint", "output", "images", "masks", "run_dir", "config", "experiment", "grid", "init_from"} <= set(seen)


def test_an_unknown_user_is_no_home(home: Path) -> None:
    with pytest.raises(UserError, match="no folder at ~nobody_of_this_name/x"):
        Folder("~nobody_of_this_name/x").splits()
