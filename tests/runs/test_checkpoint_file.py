"""Reading checkpoints: weights and settings are restored; every unreadable file gives a one-line error."""

from __future__ import annotations

import copy
import json
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_gan import ADAM_D, ADAM_G, NO_CLIPPING, TinyWeights, loader, make_batches, make_trainer
from torch import nn

import lit_inpaint
from lit_inpaint.callbacks import GeneratorEMA
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.papers import LPINet
from lit_inpaint.papers.lpi_net import Weights
from lit_inpaint.runs.checkpoint_file import load, read_checkpoint
from lit_inpaint.schedules import Cosine, Linear, Steps
from lit_inpaint.settings import SGD, Adam, AdamW, Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms

Content = dict[str, Any]
STAGES = (
    Stage("warm-up", discriminator=False, iterations=1, weights={"adversarial": 0.0, "l1": Linear(2.0)}),
    Stage(
        update="alternating",
        d_steps=2,
        generator_optimizer=AdamW(lr=Steps(1e-3, milestones=(5,))),
        frozen=("generator.to_rgb",),
    ),
)


@pytest.fixture(scope="session")
def content(checkpoint: Path) -> Content:
    return torch.load(checkpoint, map_location="cpu", weights_only=True)


def types_in(value: object) -> set[type]:
    if isinstance(value, dict):
        return {dict}.union(*(types_in(key) | types_in(item) for key, item in value.items()))
    if isinstance(value, list):
        return {list}.union(*(types_in(item) for item in value))
    return {type(value)}


def test_the_description_is_plain_data(content: Content) -> None:
    description = content["lit_inpaint"]
    assert description.keys() == {"paper", "settings", "seed", "versions", "config"}
    assert types_in(description) <= {dict, list, str, int, float, bool, type(None)}
    json.dumps(description)
    assert description["paper"] == "lit_inpaint.papers.lpi_net.LPINet"
    assert description["versions"].keys() == {"lit_inpaint", "torch", "lightning", "numpy"}
    assert description["versions"]["lit_inpaint"] == lit_inpaint.__version__
    assert description["settings"]["blocks"] == description["config"]["model"]["init_args"]["blocks"]
    assert description["seed"] == description["config"]["seed"]
    assert description["config"]["data"]["init_args"]["size"] == 32
    assert content["global_step"] == 2


def test_it_holds_both_networks_and_both_optimizers_only(content: Content) -> None:
    assert {name.split(".")[0] for name in content["state_dict"]} == {"generator", "discriminator"}
    assert len(content["optimizer_states"]) == 2
    assert not [key for key in content if key.startswith(("hyper_parameters", "hparams", "datamodule"))]


def test_load_restores_weights_and_settings(checkpoint: Path, content: Content) -> None:
    model = lit_inpaint.load(checkpoint)  # lazily imported
    assert type(model) is LPINet
    assert not model.training
    assert model.seed == content["lit_inpaint"]["seed"]
    raw = load(checkpoint, ema=False)
    assert raw.state_dict().keys() == content["state_dict"].keys()
    for name, tensor in raw.state_dict().items():
        assert torch.equal(tensor, content["state_dict"][name]), name
    assert load(str(checkpoint)).seed == model.seed


def fitted(tmp_path: Path, model: LPINet, *callbacks: GeneratorEMA) -> Path:
    trainer = make_trainer(2, *callbacks)
    trainer.fit(model, loader(make_batches(2, size=32)))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_settings_are_restored_with_their_types(tmp_path: Path) -> None:
    model = LPINet(
        blocks=2,
        weights=Weights(l1=2.5),
        generator_optimizer=Adam(lr=3e-4, betas=(0.1, 0.2), weight_decay=0.5),
        discriminator_optimizer=SGD(lr=Cosine(0.1, length=7), momentum=0.5),
        stages=STAGES,
        training=Training(clip_generator=1.5, channels_last=False),
    )
    model.seed = 77
    restored = load(fitted(tmp_path, model))
    assert isinstance(restored, LPINet)
    assert restored.weights == Weights(l1=2.5)
    assert restored.generator_optimizer == Adam(lr=3e-4, betas=(0.1, 0.2), weight_decay=0.5)
    assert restored.discriminator_optimizer == SGD(lr=Cosine(0.1, length=7), momentum=0.5)
    assert restored.stages() == STAGES
    assert restored.training_settings == Training(clip_generator=1.5, channels_last=False)
    assert restored.seed == 77
    image, mask = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    assert torch.equal(restored.complete(image, mask), model.eval().complete(image, mask))


def test_ema_weights_are_used_where_there_are_some(tmp_path: Path) -> None:
    ema, model = GeneratorEMA(0.5), LPINet()
    path = fitted(tmp_path, model, ema)
    ema_model, raw = load(path), load(path, ema=False)
    for name, tensor in ema_model.generator.state_dict().items():
        assert torch.equal(tensor, ema.weights[name]), name
    for name, tensor in raw.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert not torch.equal(ema_model.generator.to_rgb.weight, raw.generator.to_rgb.weight)
    assert ema_model.discriminator is not None
    for name, tensor in ema_model.discriminator.state_dict().items():
        assert torch.equal(tensor, raw.state_dict()[f"discriminator.{name}"]), name


def test_channels_last_is_restored(checkpoint: Path) -> None:
    assert load(checkpoint).generator.stages[1][0].weight.is_contiguous(memory_format=torch.channels_last)


# Errors ----------------------------------------------------------------------------------------------------------------------


def one_line(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_missing(tmp_path: Path) -> None:
    assert "no checkpoint at" in one_line(tmp_path / "nothing.ckpt")
    assert "no checkpoint at" in one_line(tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.99])
def test_truncated(checkpoint: Path, tmp_path: Path, fraction: float) -> None:
    whole = checkpoint.read_bytes()
    path = tmp_path / "cut.ckpt"
    path.write_bytes(whole[: int(len(whole) * fraction)])
    assert "may be truncated or of another program" in one_line(path)


def zip_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("hello.txt", "hello")


FOREIGN: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("learning_rate: 3\nname: x\n"),
    "one word": lambda path: path.write_text("hello"),
    "zip": zip_file,
    "png": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
    "noise": lambda path: path.write_bytes(random.Random(0).randbytes(5000)),
    "module": lambda path: torch.save(torch.nn.Linear(1, 1), path),
    "legacy": lambda path: torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False),
    "dict": lambda path: torch.save({"model": torch.zeros(3)}, path),
    "state dict": lambda path: torch.save({"state_dict": {"w": torch.zeros(3)}, "epoch": 3}, path),
    "tensor": lambda path: torch.save(torch.zeros(3), path),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.ckpt"
    FOREIGN[kind](path)
    message = one_line(path)
    assert ("is not a checkpoint of lit_inpaint" in message) == (kind in ("dict", "state dict", "tensor", "legacy"))


@pytest.mark.parametrize("byte", range(0, 256, 5))
def test_every_first_byte_gives_an_error(byte: int, tmp_path: Path) -> None:
    """A pickle consists of one-byte instructions: a file that begins with any of them gives a one-line error too."""
    path = tmp_path / "noise.ckpt"
    path.write_bytes(bytes([byte, 40, byte, 113, 1, 46]))
    one_line(path)


class Tamper:
    """Writes the checkpoint with one change and returns the error of loading it."""

    def __init__(self, content: Content, path: Path) -> None:
        self.content, self.path = content, path

    def __call__(self, change: Callable[[Content], object]) -> str:
        content = copy.deepcopy(self.content)
        change(content)
        torch.save(content, self.path)
        return one_line(self.path)


@pytest.fixture
def tamper(content: Content, tmp_path: Path) -> Tamper:
    return Tamper(content, tmp_path / "tampered.ckpt")


@pytest.mark.parametrize(
    ("paper", "message"),
    [
        (
            "os.system",
            "names os.system, which is not of lit_inpaint; nothing of it was imported. If you trust that code: LIT_INPAINT",
        ),
        ("lit_inpaint.engine.inpainter.Inpainter", "no paper of lit_inpaint"),
        ("lit_inpaint.papersx.Foreign", "this version of lit_inpaint does not have"),
        ("LPINet", "no paper of lit_inpaint"),
        ("", "no paper of lit_inpaint"),
        ("lit_inpaint.papers.lpi_net.LPIGenerator", "no paper of lit_inpaint"),
        ("lit_inpaint.papers.lpi_net.Weights", "no paper of lit_inpaint"),
        ("lit_inpaint.papers.lpi_net.interpolate", "no paper of lit_inpaint"),
        ("lit_inpaint.papers.lpi_net.LPINet9", "this version of lit_inpaint does not have"),
        ("lit_inpaint.papers.gone.Gone", "this version of lit_inpaint does not have"),
    ],
)
def test_only_papers_of_the_package_are_imported(tamper: Tamper, paper: str, message: str) -> None:
    assert message in tamper(lambda c: c["lit_inpaint"].update(paper=paper))


def test_settings_that_do_not_fit(tamper: Tamper) -> None:
    message = tamper(lambda c: c["lit_inpaint"]["settings"].update(colour="red"))
    assert "do not fit this version of LPINet" in message
    assert "colour" in message
    assert "blocks" in tamper(lambda c: c["lit_inpaint"]["settings"].update(blocks="many"))
    assert "momentum" in tamper(lambda c: c["lit_inpaint"]["settings"]["generator_optimizer"]["init_args"].update(momentum=0.5))
    assert "clip_generator" in tamper(lambda c: c["lit_inpaint"]["settings"]["training"].update(clip_generator=-1.0))


@pytest.mark.parametrize("place", ["generator_optimizer", "weights", "stages"])
def test_only_classes_of_the_package_are_imported_from_settings(tamper: Tamper, place: str) -> None:
    def change(content: Content) -> None:
        settings, foreign = content["lit_inpaint"]["settings"], {"class_path": "antigravity.Fly", "init_args": {}}
        settings[place] = {
            "generator_optimizer": foreign,
            "weights": {"l1": foreign},
            "stages": [{"generator_optimizer": foreign}],
        }[place]

    assert "names antigravity.Fly, which is not of lit_inpaint" in tamper(change)
    assert "antigravity" not in sys.modules


def test_weights_that_do_not_fit(tamper: Tamper) -> None:
    message = tamper(lambda c: c["state_dict"].update({"generator.to_rgb.bias": torch.zeros(4)}))
    assert "do not fit lit_inpaint.papers.lpi_net.LPINet" in message
    assert "generator.to_rgb.bias" in message
    assert "generator.to_rgb.bias" in tamper(lambda c: c["state_dict"].pop("generator.to_rgb.bias"))
    names = [f"generator.extra{number}" for number in range(100)]
    message = tamper(lambda c: c["state_dict"].update(dict.fromkeys(names, torch.zeros(1))))
    assert "generator.extra0" in message
    assert "extra99" not in message
    assert "generator.extra" in tamper(lambda c: c["state_dict"].update({"generator.extra": torch.zeros(1)}))
    wrong = {"GeneratorEMA": {"weights": {"to_rgb.bias": torch.zeros(3)}}}
    assert "do not fit" in tamper(lambda c: c["callbacks"].update(wrong))


@pytest.mark.parametrize("key", ["paper", "settings", "seed"])
def test_an_incomplete_description(tamper: Tamper, key: str) -> None:
    assert key in tamper(lambda c: c["lit_inpaint"].pop(key))


def test_nothing_in_the_file_is_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"lit_inpaint": Bomb(), "state_dict": {}}, tmp_path / "bomb.ckpt")
    with pytest.raises(UserError):
        read_checkpoint(tmp_path / "bomb.ckpt")
    assert not (tmp_path / "executed").exists()


class Width(Inpainter):
    """A paper whose size and depth are settings."""

    def __init__(self, width: int = 1, depth: int = 1) -> None:
        super().__init__(TinyWeights(), ADAM_G, ADAM_D, NO_CLIPPING)
        self.generator = nn.Sequential(*(nn.Conv2d(3, width, 1) for _ in range(depth)))
        self.discriminator = None

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> Prediction:
        raise NotImplementedError

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        raise NotImplementedError


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tamper:
    monkeypatch.setenv("LIT_INPAINT_PAPERS", "test_checkpoint_file")
    state = {f"generator.{name}": value for name, value in Width().generator.state_dict().items()}
    description = {"paper": "test_checkpoint_file.Width", "settings": {"width": 1, "depth": 1}, "seed": 0}
    return Tamper({"state_dict": state, "lit_inpaint": description, "global_step": 1, "callbacks": {}}, tmp_path / "a.ckpt")


@pytest.mark.parametrize("settings", [{"width": 10**8}, {"depth": 10**7}, {"width": 10**12}])
def test_settings_of_a_network_that_would_fill_the_memory(small: Tamper, settings: dict[str, int]) -> None:
    message = small(lambda c: c["lit_inpaint"]["settings"].update(settings))
    assert "the settings in" in message
    assert "far more than its weights have" in message or "do not fit this version of Width" in message


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("lit_inpaint", 3, "lit_inpaint is int, not dict"),
        ("lit_inpaint", None, "it lacks lit_inpaint"),
        ("lit_inpaint.paper", ["a"], "lit_inpaint.paper is list, not str"),
        ("lit_inpaint.settings", [], "lit_inpaint.settings is list, not dict"),
        ("lit_inpaint.seed", "x", "lit_inpaint.seed is str, not int"),
        ("lit_inpaint.config", [1], "lit_inpaint.config is list, not dict"),
        ("state_dict", [], "state_dict is list, not dict"),
        ("state_dict.0", 1.0, "weights with the name 0"),
        ("callbacks", [1], "callbacks is list, not dict"),
        ("callbacks.GeneratorEMA", "x", "callbacks.GeneratorEMA is str, not dict"),
        ("callbacks.GeneratorEMA", {"weights": 3}, "callbacks.GeneratorEMA.weights is int, not dict"),
        ("global_step", "x", "global_step is str, not int"),
        ("splits", {"train": {}}, "its record of images (splits) is damaged"),
        ("lit_inpaint.settings.width", [[]] * 2_000_000, "stands for more than 1,000,000 values"),
    ],
)
def test_entries_of_other_types(small: Tamper, place: str, value: object, message: str) -> None:
    def change(content: Content) -> None:
        *outer, key = place.split(".")
        for part in outer:
            content = content[part]
        content[int(key) if key.isdecimal() else key] = value

    assert message in small(change)


def test_weights_that_are_not_finite(small: Tamper) -> None:
    message = small(lambda c: c["state_dict"]["generator.0.weight"].fill_(float("nan")))
    assert "are not finite (0.weight has NaN or infinity); name an earlier checkpoint" in message


def test_a_compressed_archive_is_not_unpacked(small: Tamper) -> None:
    """Its members could expand to a thousand times their size."""
    torch.save(small.content, small.path)
    with (
        zipfile.ZipFile(small.path) as stored,
        zipfile.ZipFile(small.path.with_name("b.ckpt"), "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in stored.namelist():
            other.writestr(name, stored.read(name))
    assert "is a compressed archive, which torch.save does not write" in one_line(small.path.with_name("b.ckpt"))
    assert load(small.path)


@pytest.mark.parametrize("named", ["lit_inpaint_evil.Evil", "evil.yaml"])
@pytest.mark.parametrize("place", ["generator_optimizer", "weights", "stages", "training"])
def test_a_text_in_place_of_a_class_imports_nothing(
    tamper: Tamper, named: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a class is expected, jsonargparse also takes an import path, or a YAML file with one."""
    (tmp_path / "lit_inpaint_evil.py").write_text("class Evil: ...")
    (tmp_path / "evil.yaml").write_text("class_path: lit_inpaint_evil.Evil")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    message = tamper(lambda c: c["lit_inpaint"]["settings"].update({place: [named] if place == "stages" else named}))
    assert "lit_inpaint_evil" not in sys.modules
    assert "which is not of lit_inpaint; nothing of it was imported" in message or "do not fit" in message
