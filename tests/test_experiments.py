import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import Namespace
from PIL import Image

import lit_inpaint.masks
from lit_inpaint import evaluate, fit, papers
from lit_inpaint.config.check_settings import check, dump
from lit_inpaint.config.load_yaml import load_experiment
from lit_inpaint.masks import Boxes, CellularAutomaton, CrossedStrokes, FreeForm, MaskSource, Mixture
from lit_inpaint.papers import DeepGIN
from lit_inpaint.papers.pixel_loss import build

FOLDER = Path(__file__).parents[1] / "experiments"
PATHS = [*FOLDER.glob("*.yaml"), *FOLDER.glob("benchmark/*.yaml")]
EXPERIMENTS = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in PATHS if path.stem != "defaults")
LPI = [name for name in EXPERIMENTS if name.startswith("lpi_") and name != "lpi_demo"]
TESTED_ONLY = {
    "deepgin_ffhq_": "deepgin_celebahq",
    "deepgin_oxford_": "deepgin_celebahq",
    **{f"lama_places2_{masks}": "lama_places2" for masks in ("thin", "medium", "thick")},
}
"""Beginnings of experiments whose networks another one trains: DeepGIN's table 2, LaMa's test masks."""
LAMA = {"width": 4, "blocks": 1, "discriminator_width": 4, "segmentation": "random", "weights.segmentation_perceptual": 0}
SMALL = {  # further options for a quick run: sizes that are part of a network, widths, no downloaded weights
    "deepfill_v1": [
        *("--model.size", "32", "--model.local_size", "16", "--model.width", "4", "--model.discriminator_width", "4"),
        *("--model.stages", "[{update: alternating, generator_every: 2}]"),
    ],
    "deepfill_v2": ["--model.width", "4", "--model.discriminator_width", "4"],
    "context": [
        *("--model.size", "32", "--model.width", "4", "--model.bottleneck", "16", "--data.masks.size", "16"),
        *("--data.val_masks", "[{class_path: lit_inpaint.masks.Center, init_args: {size: 16}}]"),
    ],
    "deepgin": ["--model.size", "32", "--model.width", "4", "--model.discriminator_width", "4", "--model.vgg", "random"],
    "edgeconnect": ["--model.width", "4", "--model.discriminator_width", "4", "--model.vgg", "random"],
    "shipped": ["--data.size", "64", "--data.mix", "null", "--model.vgg", "random", "--model.widths", "[8,16]"],
    "glcic": ["--model.size", "32", "--model.local_size", "16", "--model.width", "4", "--model.discriminator_width", "4"],
    "lama": [*(f"--model.{name}={value}" for name, value in LAMA.items()), "--metrics", "[]", "--best_metric", "null"],
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


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mask files of 20x20 pixels, white = hole, one in each range of LPI-Net's tables."""
    folder = tmp_path_factory.mktemp("masks")
    for rows in (3, 5, 7, 9):
        pixels = np.zeros((20, 20), np.uint8)
        pixels[:rows] = 255
        Image.fromarray(pixels).save(folder / f"{rows}.png")
    return folder


def test_these_are_all_experiments() -> None:
    assert EXPERIMENTS == [
        "benchmark/context_encoder",
        "benchmark/deepfill_v1",
        "benchmark/deepfill_v2",
        "benchmark/deepgin",
        "benchmark/edgeconnect",
        "benchmark/glcic",
        "benchmark/lama",
        "benchmark/lpi_net",
        "benchmark/lpi_net_hole_weighted",
        "benchmark/pconv",
        "benchmark/pepsi",
        "benchmark/shipped",
        "benchmark/unet",
        "benchmark/wavemix",
        "context_encoder_places2",
        "context_encoder_places2_official",
        "deepfill_v1_celeba",
        "deepfill_v1_celebahq",
        "deepfill_v1_places2",
        "deepfill_v2_celeba",
        "deepfill_v2_celebahq",
        "deepfill_v2_places2",
        "deepgin_ade20k",
        "deepgin_celebahq",
        "deepgin_celebahq_coarse",
        "deepgin_celebahq_dilated_mssa",
        "deepgin_celebahq_paper",
        "deepgin_celebahq_spd_mssa",
        "deepgin_celebahq_std",
        "deepgin_celebahq_std_mssa",
        "deepgin_celebahq_std_sa",
        "deepgin_ffhq_rectangles",
        "deepgin_ffhq_three_masks",
        "deepgin_oxford_rectangles",
        "deepgin_oxford_three_masks",
        "edgeconnect_celeba",
        "edgeconnect_celeba_nvidia_masks",
        "edgeconnect_places2",
        "edgeconnect_places2_nvidia_masks",
        "glcic_celeba",
        "glcic_celeba_official",
        "glcic_places2",
        "lama_celebahq",
        "lama_places2",
        "lama_places2_big",
        "lama_places2_medium",
        "lama_places2_medium_512",
        "lama_places2_regular",
        "lama_places2_thick_512",
        "lama_places2_thin",
        "lama_places2_thin_512",
        "lama_stl10",
        "lpi_celeba",
        "lpi_celeba_nvidia_masks",
        "lpi_demo",
        "lpi_large_celeba",
        "lpi_large_places2",
        "lpi_places2",
        "lpi_places2_nvidia_masks",
        "pconv_cars",
        "pconv_cub200",
        "pconv_cub200_four_stages",
        "pepsi_celebahq",
        "pepsi_diet_celebahq",
        "pepsi_separable_celebahq",
        "pepsi_separable_overfit",
        "unet_stl10",
        "wavemix_stl10",
        "wavemix_stl10_12x12",
        "wavemix_stl10_8x8",
        "wavemix_stl10_mask_sizes",
    ]


def evaluation_command(name: str) -> tuple[argparse.Namespace, list[str]]:
    """Parse the command in the head of an experiment that evaluates with the paper's protocol, as `evaluate` does."""
    text = (FOLDER / f"{name}.yaml").read_text().replace("\\\n#", "")
    (line,) = [line for line in text.splitlines() if line.startswith("# python -m lit_inpaint.evaluate ")]
    return evaluate._parser().parse_with_data(line.split()[4:])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_head_has_the_commands_to_train_and_to_evaluate(name: str) -> None:
    assert (FOLDER / f"{name}.yaml").read_text().startswith(f"# python -m lit_inpaint.fit --experiment {name}")
    options, data_options = evaluation_command(name)
    trained = next((whole for start, whole in TESTED_ONLY.items() if name.startswith(start)), name)
    assert options.checkpoint == [f"runs/{trained}/<time>/checkpoints/last.ckpt"]
    assert options.experiment == (name if trained != name else None)
    assert (options.protocol, options.split, data_options) == (check(load_experiment(name)).protocol, "test", [])
    # Table 1 of WaveMix has FID; tables 1 and 2 of DeepGIN have FID and LPIPS.
    whole = {"deepgin": ["fid", "lpips_alex"], "wavemix_stl10": ["fid"], "unet_stl10": ["fid"], "lama_stl10": ["fid"]}
    expected = whole.get("deepgin" if name.startswith("deepgin") else name)
    assert options.metrics == expected


def test_the_protocol_is_the_papers() -> None:
    protocols = {name: check(load_experiment(name)).protocol for name in EXPERIMENTS}
    of_paper = {
        "context": "lpi",
        "deepfill": "lpi",
        "deepgin": "deepgin",
        "edgeconnect": "lpi",
        "glcic": "lpi",
        "lama": "lama",
        "lpi": "lpi",
        "pconv": "pconv",
        "pepsi": "pepsi",
        "unet": "wavemix",
        "wavemix": "wavemix",
    }
    for name, protocol in protocols.items():
        paper = "wavemix" if name.endswith("_stl10") else name.partition("_")[0]
        assert protocol == ("lpi" if name.startswith("benchmark/") else of_paper[paper]), name


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
    if name.endswith("nvidia_masks"):
        assert (data.masks.class_path, data.val_masks) == ("lit_inpaint.masks.NvidiaMasks", None)
        return
    ranges = [(source.init_args.low, source.init_args.high) for source in data.val_masks]
    assert ranges == [(0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_trains_two_steps_on_any_folder(name: str, images: Path, masks: Path, tmp_path: Path) -> None:
    run, short = tmp_path / "run", name.removeprefix("benchmark/")
    small = next((options for paper, options in SMALL.items() if short.startswith(paper)), [])
    options = ["--data.root", str(images), "--data.size", "32", "--data.batch_size", "2", "--data.workers", "0"]
    options += ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.log_every_n_steps", "1"]
    options += ["--trainer.enable_progress_bar", "false", "--wandb.mode", "disabled", *small]
    if name.endswith("nvidia_masks"):
        options += ["--data.masks.root", str(masks)]
    if name.endswith("overfit"):
        options += ["--data.overfit_images", "4"]
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


BENCHMARK = [name for name in EXPERIMENTS if name.startswith("benchmark/") and "shipped" not in name]
NETWORKS = [f"benchmark/networks/{path.stem}" for path in sorted(FOLDER.glob("benchmark/networks/*.yaml"))]
NETWORKS.remove("benchmark/networks/defaults")


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_differ_in_the_generator_alone(name: str) -> None:
    one, other = (load_experiment(each) for each in (name, "benchmark/networks/pconv"))
    build(check(one).model.init_args.network)
    for experiment in (one, other):
        del experiment["model"]["init_args"]["network"], experiment["experiment"]
    assert one == other
    options, _ = evaluation_command(name)
    assert options.checkpoint == [f"runs/{name}/<time>/checkpoints/last.ckpt"]


def test_every_paper_has_its_network_in_the_benchmark() -> None:
    found = {load_experiment(name)["model"]["init_args"]["network"]["class_path"].rpartition(".")[2] for name in NETWORKS}
    # Context Encoder fills centers only; EdgeConnect needs edges of a network of its own; DeepFill v1's clamped output gets no
    # gradient once it is saturated, as it is after 50 batches at this learning rate.
    assert found == {*papers.__all__} - {"ContextEncoder", "DeepFillV1", "EdgeConnect"}


def test_a_network_of_the_benchmark_trains(images: Path, tmp_path: Path) -> None:
    options = ["--data.root", str(images), "--data.batch_size", "2", "--data.workers", "0", "--wandb.mode", "disabled"]
    options += ["--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false", "--num_samples", "1"]
    assert fit.main(["--experiment", "benchmark/networks/glcic", "--run_dir", str(tmp_path / "run"), *options]) == 0


@pytest.mark.parametrize("name", BENCHMARK)
def test_benchmark_experiments_share_images_masks_budget_and_learning_rate(name: str) -> None:
    """They differ only in the paper. EdgeConnect's edge model and DeepFill v1 do not learn at 1e-3; their files tell why."""
    one, other = (load_experiment(each) for each in (name, "benchmark/unet"))
    for experiment in (one, other):
        del experiment["model"], experiment["experiment"]
        if name == "benchmark/context_encoder":  # fills centers only
            del experiment["data"]["init_args"]["masks"], experiment["data"]["init_args"]["val_masks"]
    assert one == other
    model = check(load_experiment(name)).model.init_args
    stages = [stage.init_args for stage in model.get("stages") or ()]
    last = (stages[-1].generator_optimizer if stages else None) or model.generator_optimizer
    rate = last.init_args.lr
    start = 3e-4 if name in ("benchmark/edgeconnect", "benchmark/deepfill_v1") else 1e-3
    assert (rate.class_path, rate.init_args.start, rate.init_args.end) == ("lit_inpaint.schedules.Linear", start, 0.0)


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


RECTANGLE = Boxes(count=(1, 1), side=(0.3, 0.7), margin=0.0)


def val_masks(name: str) -> list[MaskSource]:
    return [build_source(source) for source in check(load_experiment(name)).data.init_args.val_masks]


def build_source(config: Namespace) -> MaskSource:
    """Build a mask source from its class path and options."""
    options: dict[str, Any] = dict(vars(config.get("init_args") or Namespace()))
    if "sources" in options:
        options["sources"] = tuple(build_source(source) for source in options["sources"])
    source: MaskSource = getattr(lit_inpaint.masks, config.class_path.rpartition(".")[2])(**options)
    return source


@pytest.mark.parametrize(("data", "count"), [("celebahq", None), ("ffhq", 1000), ("oxford", None)])
def test_deepgin_is_tested_under_one_mask_for_each_image(data: str, count: int | None) -> None:
    """Section 6.1 ("randomly masked by the three types"): 3,000, 1,000 and 523 samples, the last by the data set's class."""
    name = f"deepgin_{data}" if data == "celebahq" else f"deepgin_{data}_three_masks"
    config = check(load_experiment(name)).data
    assert config.init_args.test_images == count
    assert config.init_args.val_transform.class_path == "lit_inpaint.data.Resize"
    assert val_masks(name) == [Mixture((RECTANGLE, CellularAutomaton(), CrossedStrokes()))]
    if data != "celebahq":
        assert val_masks(f"deepgin_{data}_rectangles") == [RECTANGLE]
    else:
        assert config.init_args.split == "27000-3000"


def test_deepgins_text_has_deepfills_free_form_masks() -> None:
    config = check(load_experiment("deepgin_celebahq_paper"))
    assert config.model.init_args.variant == "paper"
    assert [build_source(source) for source in config.data.init_args.masks] == [RECTANGLE, CellularAutomaton(), FreeForm()]
    assert val_masks("deepgin_celebahq_paper") == [Mixture((RECTANGLE, CellularAutomaton(), FreeForm()))]


@pytest.mark.parametrize("name", ["wavemix_stl10", "unet_stl10", "wavemix_stl10_8x8", "wavemix_stl10_12x12"])
def test_states_wavemixs_settings(name: str) -> None:
    """WaveMix, section 3 and appendix A: 10,000 test images under one mask each; mixed precision."""
    config = check(load_experiment(name))
    data = config.data.init_args
    assert (data.size, data.batch_size, data.test_images, len(data.val_masks)) == (96, 40, 10_000, 1)
    assert config.trainer.precision == "16-mixed"
    if name.endswith("_stl10"):
        (mixture,) = val_masks(name)
        masks = [mixture((96, 96), torch.Generator().manual_seed(seed)) for seed in range(40)]
        assert all(mask.any() for mask in masks)


@pytest.mark.parametrize(("name", "side"), [("wavemix_stl10_8x8", 8), ("wavemix_stl10_12x12", 12)])
def test_the_squares_of_wavemix_lie_anywhere_but_near_the_border(name: str, side: int) -> None:
    (source,) = val_masks(name)
    places = set()
    for seed in range(200):
        rows, columns = (source((96, 96), torch.Generator().manual_seed(seed))[0] == 1).nonzero(as_tuple=True)
        place = int(rows.min()), int(columns.min())
        assert len(rows) == side**2
        assert (int(rows.max()), int(columns.max())) == (place[0] + side - 1, place[1] + side - 1)
        places.add(place)
    for axis in (0, 1):
        positions = [place[axis] for place in places]
        assert (min(positions), max(positions) + side) == (10, 86)


def test_the_table_of_masks_has_the_masks_of_the_experiments() -> None:
    """Rows of the table in `lit_inpaint.masks`, evaluated, draw the masks of the files."""
    table = dict(re.findall(r"^\| (.*?) \| (.*?) \|$", lit_inpaint.masks.__doc__ or "", flags=re.MULTILINE))
    for row, name, size in (
        ("WaveMix, 8x8 of 96x96", "wavemix_stl10_8x8", 96),
        ("WaveMix, 12x12 of 96x96", "wavemix_stl10_12x12", 96),
        ("partial convolutions on birds and cars", "pconv_cub200", 256),
        ("DeepGIN, three types", "deepgin_celebahq", 256),
    ):
        sources = [eval(text, vars(lit_inpaint.masks).copy()) for text in re.findall(r"`(.*?)`", table[row])]
        configured = val_masks(name)
        if name == "deepgin_celebahq":
            assert configured == [Mixture(tuple(sources))]
        else:
            for seed in range(5):
                (one, same) = (source((size, size), torch.Generator().manual_seed(seed)) for source in (*sources, *configured))
                assert torch.equal(one, same), row


def test_the_squares_of_appendix_d() -> None:
    sources = val_masks("wavemix_stl10_mask_sizes")
    counts = [int(source((96, 96), torch.Generator().manual_seed(0)).sum()) for source in sources]
    assert counts == [side**2 for side in (4, 8, 12, 16, 24, 32, 48)]
