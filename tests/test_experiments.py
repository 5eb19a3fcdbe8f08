import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from jsonargparse import Namespace
from PIL import Image

from lit_inpaint import fit
from lit_inpaint.config.check_settings import check, dump
from lit_inpaint.config.load_yaml import load_experiment
from lit_inpaint.papers import DeepGIN

FOLDER = Path(__file__).parents[1] / "experiments"
PATHS = [*FOLDER.glob("*.yaml"), *FOLDER.glob("benchmark/*.yaml")]
EXPERIMENTS = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in PATHS if path.stem != "defaults")
LPI = [name for name in EXPERIMENTS if name.startswith("lpi_") and name != "lpi_demo"]
SMALL = {  # further options for a quick run: sizes that are part of a network, widths, no downloaded weights
    "deepgin": ["--model.size", "32", "--model.width", "4", "--model.discriminator_width", "4", "--model.vgg", "random"],
    "pconv": ["--data.size", "64", "--model.vgg", "random", "--model.width", "8"],
    "pepsi": ["--model.size", "32", "--model.width", "8", "--model.discriminator_width", "8"],
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of several sizes in one flat folder."""
    folder = tmp_path_factory.mktemp("images")
    noise = np.random.default_rng(0)
    for number in range(12):
        pixels = noise.integers(0, 256, (60 + 7 * number, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def test_these_are_all_experiments() -> None:
    assert EXPERIMENTS == [
        "benchmark/deepgin",
        "benchmark/lpi_net",
        "benchmark/pconv",
        "benchmark/pepsi",
        "benchmark/unet",
        "benchmark/wavemix",
        "deepgin_ade20k",
        "deepgin_celebahq",
        "deepgin_celebahq_coarse",
        "deepgin_celebahq_dilated_mssa",
        "deepgin_celebahq_spd_mssa",
        "deepgin_celebahq_std",
        "deepgin_celebahq_std_mssa",
        "deepgin_celebahq_std_sa",
        "lpi_celeba",
        "lpi_demo",
        "lpi_large_celeba",
        "lpi_large_places2",
        "lpi_places2",
        "pconv_cars",
        "pconv_cub200",
        "pepsi_celebahq",
        "pepsi_diet_celebahq",
        "pepsi_separable_celebahq",
        "unet_stl10",
        "wavemix_stl10",
        "wavemix_stl10_12x12",
        "wavemix_stl10_8x8",
    ]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_head_has_the_commands_to_train_and_to_evaluate(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith(f"# python -m lit_inpaint.fit --experiment {name}")
    (evaluation,) = [line for line in lines if line.startswith("# python -m lit_inpaint.evaluate ")]
    assert evaluation.startswith(f"# python -m lit_inpaint.evaluate --checkpoint runs/{name}/<time>/checkpoints/last.ckpt ")
    assert evaluation.partition(" --protocol ")[2].split()[0] == check(load_experiment(name)).protocol


def test_the_protocol_is_the_papers() -> None:
    protocols = {name: check(load_experiment(name)).protocol for name in EXPERIMENTS}
    of_paper = {"deepgin": "deepgin", "lpi": "lpi", "pconv": "pconv", "pepsi": "pepsi", "unet": "wavemix", "wavemix": "wavemix"}
    for name, protocol in protocols.items():
        assert protocol == ("lpi" if name.startswith("benchmark/") else of_paper[name.partition("_")[0]]), name


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_has_no_yaml_alias(path: Path) -> None:
    """An option on the command line must not change a second value."""
    assert not [event for event in yaml.parse(path.read_text()) if getattr(event, "anchor", None) is not None]


def test_no_experiment_is_a_copy_of_another() -> None:
    configurations: dict[str, str] = {}
    for name in EXPERIMENTS:
        config = load_experiment(name)
        del config["experiment"]
        text = yaml.safe_dump(config)
        assert configurations.setdefault(text, name) == name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_resolves_to_a_complete_configuration_that_replays(name: str) -> None:
    text = dump(check(load_experiment(name)))
    assert dump(check(yaml.safe_load(text))) == text


@pytest.mark.parametrize("name", LPI)
def test_states_lpi_nets_settings(name: str) -> None:
    """LPI-Net, sections 3.4 and 4.1."""
    config = check(load_experiment(name))
    model, data = config.model.init_args, config.data.init_args
    assert model.blocks == (4 if "large" in name else 1)
    for optimizer, rate in ((model.generator_optimizer, 1e-4), (model.discriminator_optimizer, 1e-3)):
        assert optimizer.class_path == "lit_inpaint.settings.Adam"
        assert (optimizer.init_args.lr, optimizer.init_args.betas) == (rate, (0.0, 0.9))
    assert set(vars(model.weights).values()) == {1.0}
    assert (data.size, data.test_images) == (256, 10_000)
    assert data.root == ("data/celeba" if "celeba" in name else "data/places2")
    ranges = [(source.init_args.low, source.init_args.high) for source in data.val_masks]
    assert ranges == [(0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_trains_two_steps_on_any_folder(name: str, images: Path, tmp_path: Path) -> None:
    run, paper = tmp_path / "run", name.removeprefix("benchmark/").split("_")[0]
    options = ["--data.root", str(images), "--data.size", "32", "--data.batch_size", "2", "--data.workers", "0"]
    options += ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.log_every_n_steps", "1"]
    options += ["--trainer.enable_progress_bar", "false", "--wandb.mode", "disabled", *SMALL.get(paper, [])]
    assert fit.main(["--experiment", name, "--run_dir", str(run), *options]) == 0
    rows = (run / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "1", "2", "2"]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert [path.name for path in (run / "samples").iterdir()] == ["step_0000002.png"]
    final = json.loads((run / "final_evaluation.json").read_text())["rows"]
    assert {row["protocol"] for row in final} == {check(load_experiment(name)).protocol}
    assert all(row["n"] for row in final if row["bucket"] == "all")


def test_an_experiment_is_named_by_its_path(tmp_path: Path) -> None:
    """The name is also the folder of its runs: runs/benchmark/unet is not runs/unet."""
    elsewhere = tmp_path / "deep" / "unet.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(f"base: {FOLDER / 'benchmark' / 'unet.yaml'}")
    for name, expected in (("unet_stl10", "unet_stl10"), ("benchmark/unet", "benchmark/unet"), (str(elsewhere), "unet")):
        assert load_experiment(name)["experiment"] == expected
    assert load_experiment(str(FOLDER / "benchmark" / "unet.yaml"))["experiment"] == "benchmark/unet"


BENCHMARK = [name for name in EXPERIMENTS if name.startswith("benchmark/")]


@pytest.mark.parametrize("name", BENCHMARK)
def test_benchmark_experiments_share_images_masks_budget_and_learning_rate(name: str) -> None:
    """They differ only in the paper."""
    one, other = (load_experiment(each) for each in (name, "benchmark/unet"))
    for experiment in (one, other):
        del experiment["model"], experiment["experiment"]
    assert one == other
    model = check(load_experiment(name)).model.init_args
    stages = [stage.init_args for stage in model.get("stages") or ()]
    last = (stages[-1].generator_optimizer if stages else None) or model.generator_optimizer
    rate = last.init_args.lr
    assert (rate.class_path, rate.init_args.start, rate.init_args.end) == ("lit_inpaint.schedules.Linear", 1e-3, 0.0)


ABLATIONS = {
    "": "SPDResBlk-MSSA-BP",
    "_spd_mssa": "SPDResBlk-MSSA",
    "_dilated_mssa": "DilatedResBlk-MSSA",
    "_std_mssa": "StdResBlk-MSSA",
    "_std_sa": "StdResBlk-SA",
    "_std": "StdResBlk",
    "_coarse": "StdResBlk (Coarse only)",
}


@pytest.mark.parametrize(("ablation", "data"), [*((ablation, "celebahq") for ablation in ABLATIONS), ("", "ade20k")])
def test_states_deepgins_settings(ablation: str, data: str) -> None:
    """DeepGIN, sections 5.1 and 6.1."""
    config = check(load_experiment(f"deepgin_{data}{ablation}"))
    model = config.model.init_args
    row = DeepGIN.published_as[ABLATIONS[ablation]]
    assert {name: model[name] for name in row} == row
    assert model.weights == Namespace(
        hole=5.0, valid=1.0, adversarial=0.001, perceptual=0.05, style=80.0, tv=0.1, real=0.5, fake=0.5
    )
    warm_up, main = (stage.init_args for stage in model.stages)
    assert (warm_up.epochs, warm_up.discriminator, main.epochs, main["update"]) == (10, False, 100, "generator_first")
    for optimizer, rate in ((model.generator_optimizer, 1e-4), (model.discriminator_optimizer, 4e-4)):
        assert (optimizer.init_args.lr, optimizer.init_args.betas) == (rate, (0.5, 0.999))
    for optimizer, rate in ((main.generator_optimizer, 1e-4), (main.discriminator_optimizer, 4e-4)):
        falling = optimizer.init_args.lr.init_args
        assert (falling.start, falling.end, falling.hold, falling.length, falling.by) == (rate, 0.0, 10, 90, "epoch")
        assert optimizer.init_args.betas == (0.5, 0.999)
    images = config.data.init_args
    assert (images.size, images.batch_size, len(images.masks)) == (256, 12, 3)
    assert images.root == f"data/{data}"
    assert images.train_transform.init_args.factor == 2
