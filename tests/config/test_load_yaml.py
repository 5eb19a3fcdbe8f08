"""Loading of experiment files, and command-line options on top of them."""

import re
from pathlib import Path
from typing import Any

import pytest

from lit_inpaint.config import load_yaml
from lit_inpaint.errors import UserError

ROOT = Path(__file__).parents[2]


def test_another_class_takes_no_arguments_of_the_old_one() -> None:
    base = {"model": {"class_path": "A", "init_args": {"lr": 1, "weights": {"l1": 2, "l2": 3}}}}
    same = load_yaml.merge(base, {"model": {"class_path": "A", "init_args": {"weights": {"l1": 5}}}})
    assert same["model"] == {"class_path": "A", "init_args": {"lr": 1, "weights": {"l1": 5, "l2": 3}}}
    other = {"class_path": "B", "init_args": {"width": 4}}
    assert load_yaml.merge(base, {"model": other})["model"] == other
    assert load_yaml.override(base, ["--model.class_path", "B", "--model.width=4"])["model"] == other
    assert base["model"]["init_args"]["weights"] == {"l1": 2, "l2": 3}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--data.root", "DIR"], {"data": {"class_path": "D", "init_args": {"root": "DIR", "seed": 1}}}),
        (["--data.init_args.root=a=b"], {"data": {"class_path": "D", "init_args": {"root": "a=b", "seed": 1}}}),
        (["--data.seed", "5"], {"data": {"class_path": "D", "init_args": {"seed": 5}}}),
        (["--seed", "7"], {"seed": 7, "data": {"class_path": "D", "init_args": {}}}),
        (["--seed", "7", "--data.seed", "5"], {"seed": 7, "data": {"class_path": "D", "init_args": {"seed": 5}}}),
        (["--trainer.max_steps", "-1"], {"trainer": {"max_steps": -1}}),
        (["--ema", "null"], {"ema": None}),
        (["--data.masks.class_path", "M", "--data.masks.low", "0.1"], {"masks": None}),
    ],
)
def test_options_on_top(options: list[str], expected: dict[str, Any]) -> None:
    config: dict[str, Any] = {"seed": 0, "data": {"class_path": "D", "init_args": {"seed": 1}}}
    found = load_yaml.override(config, options)
    if "masks" in expected:
        assert found["data"]["init_args"]["masks"] == {"class_path": "M", "init_args": {"low": 0.1}}
    else:
        assert found == {**config, **expected}
    assert config == {"seed": 0, "data": {"class_path": "D", "init_args": {"seed": 1}}}


def test_base_and_sections_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "experiments"
    (folder / "data").mkdir(parents=True)
    (folder / "defaults.yaml").write_text("seed: 3\ncheckpoint_every: 7\ntrainer: {max_steps: 1}\n")
    (folder / "data" / "images.yaml").write_text("class_path: D\ninit_args: {size: 8}\n")
    (folder / "first.yaml").write_text("model: {class_path: M}\ndata: data/images.yaml\ntrainer: {max_steps: 2}\n")
    (folder / "second.yaml").write_text("base: first.yaml\nseed: 4\ndata: {init_args: {size: 16}}\n")
    monkeypatch.chdir(tmp_path)
    found = load_yaml.load_experiment("second")
    assert found["wandb"] == {"mode": "auto", "project": "lit_inpaint"}  # the package's defaults.yaml, under the folder's own
    assert found["trainer"].pop("val_check_interval") == 1000
    assert {key: found[key] for key in ("experiment", "seed", "checkpoint_every", "model", "data")} == {
        "experiment": "second",
        "seed": 4,
        "checkpoint_every": 7,
        "model": {"class_path": "M"},
        "data": {"class_path": "D", "init_args": {"size": 16}},
    }
    assert found["trainer"]["max_steps"] == 2
    assert load_yaml.load_experiment(str(folder / "first.yaml"))["experiment"] == "first"


def test_defaults_of_another_project_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No option names `experiments/defaults.yaml`, so the message must."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "defaults.yaml").write_text("lr: 0.1\nepochs: 3\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"defaults\.yaml has unknown keys \(lr, epochs\).* start in another folder"):
        load_yaml.load_experiment("lpi_demo")


def test_experiments_of_the_package_and_of_the_current_folder_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "own.yaml").write_text("base: lpi_demo.yaml\nseed: 4\n")
    (tmp_path / "by_name.yaml").write_text("base: own\n")
    monkeypatch.chdir(tmp_path)
    assert load_yaml.find_experiment("lpi_demo") == ROOT / "experiments" / "lpi_demo.yaml"
    own = load_yaml.load_experiment("own")
    assert (own["experiment"], own["seed"], own["model"]["class_path"]) == ("own", 4, "lit_inpaint.papers.LPINet")
    by_name = load_yaml.load_experiment("by_name.yaml")
    assert (by_name["seed"], by_name["model"]) == (4, own["model"])
    assert {"own", "lpi_demo"} <= set(load_yaml.experiment_names())


TYPED = {
    "wandb": {},
    "data": {"class_path": "lit_inpaint.data.Folder", "init_args": {}},
    "model": {"class_path": "lit_inpaint.papers.PConv", "init_args": {}},
}


@pytest.mark.parametrize(
    ("option", "keys", "value"),
    [
        ("--data.root=run #2", ("data", "init_args", "root"), "run #2"),
        ("--data.root=2024-01-15", ("data", "init_args", "root"), "2024-01-15"),
        ("--data.root=0123", ("data", "init_args", "root"), "0123"),
        ("--data.root=~", ("data", "init_args", "root"), "~"),
        ("--data.root=no", ("data", "init_args", "root"), "no"),
        ("--data.root={a: b}", ("data", "init_args", "root"), "{a: b}"),
        ("--data.root=null", ("data", "init_args", "root"), None),
        ("--data.init_args.root=1e3", ("data", "init_args", "root"), "1e3"),
        ("--data.size=0100", ("data", "init_args", "size"), 64),
        ("--wandb.notes=12", ("wandb", "notes"), "12"),
        ("--wandb.project=on", ("wandb", "project"), "on"),
        ("--experiment=007", ("experiment",), "007"),
    ],
)
def test_a_setting_of_type_str_takes_its_text_as_typed(option: str, keys: tuple[str, ...], value: object) -> None:
    found: Any = load_yaml.override(TYPED, [option])
    for key in keys:
        found = found[key]
    assert found == value
    assert type(found) is type(value)


def test_an_empty_value_is_not_the_default() -> None:
    with pytest.raises(UserError, match=r"^--data.root has an empty value; is it a shell variable that is not set"):
        load_yaml.override(TYPED, ["--data.root", ""])


@pytest.mark.parametrize("options", [("--data.seed", "5", "--seed", "7"), ("--seed", "7", "--data.seed", "5")])
def test_the_order_of_seeds_does_not_matter(options: tuple[str, ...]) -> None:
    found = load_yaml.override(TYPED, options)
    assert (found["seed"], found["data"]["init_args"]["seed"]) == (7, 5)


def write(path: Path, text: str, encoding: str) -> str:
    path.write_bytes(text.encode(encoding))
    return str(path)


def test_encodings(tmp_path: Path) -> None:
    text = "# grün\nseed: 5\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert load_yaml.load_experiment(write(tmp_path / f"{encoding}.yaml", text, encoding))["seed"] == 5
    with pytest.raises(UserError, match=r"latin\.yaml is not UTF-8 text \(invalid .* at byte 4\); save it as UTF-8$"):
        load_yaml.load_experiment(write(tmp_path / "latin.yaml", text, "latin-1"))


def test_a_duplicate_key_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "twice.yaml", "trainer: {max_steps: 100}\nseed: 1\ntrainer: {val_check_interval: 2}\n", "utf-8")
    with pytest.raises(UserError, match=r"twice\.yaml, line 3: the key 'trainer' stands twice; merge both into one$"):
        load_yaml.load_experiment(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "base: a.yaml"}, "a.yaml leads back to itself"),
        ({"a": "base: b.yaml", "b": "base: ./a.yaml"}, "a.yaml leads back to itself"),
        ({"a": "data: b.yaml", "b": "data: a.yaml"}, "a.yaml leads back to itself"),
        ({"a": "base: [b.yaml]"}, "has the base ['b.yaml']; name one file"),
        ({"a": "base: lpi_dem"}, "names 'lpi_dem', which is not in "),
        ({"a": "base: lpi_dem"}, "; did you mean 'lpi_demo.yaml'?"),
        ({"a": "data: data/tiny_imagenat.yaml"}, "; did you mean 'data/tiny_imagenet.yaml'?"),
        ({"a": "base: /dev/zero"}, "cannot read /dev/zero: not a regular file"),
        ({"a": "1: 2"}, "has the key 1; keys are names such as model and data"),
        ({"a": "model: &a [*a]"}, "has a part that contains itself"),
        ({"a": "seed: " + "9" * 5000}, "is not valid YAML"),
    ],
)
def test_files_that_lead_nowhere(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        load_yaml.load_experiment(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize("text", ["2001-99-99", "!!int x", "[" * 2000, "9" * 5000, "&a [*a]"])
def test_a_value_that_is_no_yaml_is_text(text: str) -> None:
    assert load_yaml.override({}, ["--a", text]) == {"a": text}
