"""README files: links and paths exist, the main one is short, and the example paper in `papers/README.md` works."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_inpaint import fit, papers
from lit_inpaint.config.command_line import build_data
from lit_inpaint.config.load_yaml import load_experiment
from lit_inpaint.evaluation.published_rows import differences
from lit_inpaint.published import PublishedTable

ROOT = Path(__file__).parents[1]
READMES = sorted(
    [ROOT / "README.md", *(path for top in ("experiments", "lit_inpaint", "tests") for path in (ROOT / top).rglob("README.md"))]
)
each_readme = pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
COMMAND = re.compile(r"python -m lit_inpaint\.(\w+)")
SCRIPT = re.compile(r"(?<![\w/.])(?:tests|experiments|notebooks|lit_inpaint)/[\w/]+\.(?:py|sh|sbatch|yaml|ipynb)")
CLASS = re.compile(r"class_path: (lit_inpaint[\w.]+),?\s+init_args: \{(\w+):")
EXPERIMENT = re.compile(r"--experiment ([\w/]+)(?![\w/.])")


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a file's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_readme
def test_links_resolve(path: Path) -> None:
    for target in (link or image for link, image in LINK.findall(path.read_text())):
        if not target.startswith("http"):
            file, _, anchor = target.partition("#")
            found = (path.parent / file).resolve() if file else path
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), target


@each_readme
def test_commands_and_files_exist(path: Path) -> None:
    text = path.read_text().replace("tiny_net", "lpi_net").replace("lpi_net_celeba", "lpi_celeba")  # the example paper
    for command in COMMAND.findall(text):
        module = ROOT / "lit_inpaint" / command
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file(), command
    for script in SCRIPT.findall(text):
        assert (ROOT / script).is_file() or "official_weights" in script, script
    for name in EXPERIMENT.findall(text):
        assert (ROOT / "experiments" / f"{name}.yaml").is_file() or name.startswith("my_"), name


@each_readme
def test_classes_and_their_arguments_exist(path: Path) -> None:
    for class_path, argument in CLASS.findall(path.read_text()):
        module, _, name = class_path.rpartition(".")
        assert argument in inspect.signature(getattr(importlib.import_module(module), name)).parameters, class_path


def test_main_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250


def test_tree_lists_existing_paths() -> None:
    """And every folder of the package, so that a new one gets its line."""
    block = (ROOT / "README.md").read_text().partition("## Where things are")[2].split("```")[1]
    parents: list[str] = []
    listed: set[str] = set()
    for line in block.strip("\n").splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = [name for name in re.split(r" {2,}", line.strip())[0].split() if re.fullmatch(r"[\w/]+/|\w+\.py", name)]
        assert names, line
        parents[depth:] = [names[0]]
        listed |= {"".join(parents[:depth]) + name for name in names}
    assert not {path for path in listed if not (ROOT / path).exists()}
    package = ROOT / "lit_inpaint"
    found = {f"lit_inpaint/{path.name}/" for path in package.iterdir() if (path / "__init__.py").is_file()}
    found |= {f"lit_inpaint/{path.name}" for path in package.glob("*.py")} - {"lit_inpaint/__init__.py"}
    assert not found - listed


def test_catalogue_lists_every_experiment() -> None:
    text = (ROOT / "experiments" / "README.md").read_text()
    names = {path.stem for path in (ROOT / "experiments").glob("*.yaml")} - {"defaults"}
    assert not {name for name in names if f"`{name}`" not in text}


def test_example_paper_trains_and_passes_its_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (ROOT / "lit_inpaint" / "papers" / "README.md").read_text()
    paper, _, tests = re.findall(r"^```python\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)
    (experiment,) = re.findall(r"^```yaml\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)
    module = types.ModuleType("lit_inpaint.papers.tiny_net")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(paper, "tiny_net.py", "exec"), module.__dict__)
    monkeypatch.setattr(papers, "TinyNet", module.TinyNet, raising=False)

    namespace: dict[str, object] = {"__name__": "test_tiny_net"}
    exec(compile(tests, "test_tiny_net.py", "exec"), namespace)
    checks = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(checks) == 2
    for check in checks:
        assert callable(check)
        check()

    experiments = tmp_path / "experiments"
    shutil.copytree(ROOT / "experiments" / "data", experiments / "data")
    shutil.copy(ROOT / "experiments" / "defaults.yaml", experiments)
    (experiments / "tiny_net_celeba.yaml").write_text(experiment)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number:02}.png")
    monkeypatch.chdir(tmp_path)
    (published,) = re.findall(r"^```json\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)
    (table,) = [PublishedTable(**one) for one in json.loads(published)["tables"]]
    data, _ = build_data(load_experiment("tiny_net_celeba"), ["--data.root", str(images)])
    (other_images,) = differences(table, data, "test")  # not other masks, and not another size
    assert other_images.startswith("other images (CelebA; here no img_align_celeba")
    options = "--data.size 32 --data.batch_size 2 --data.workers 0 --trainer.max_steps 2 --trainer.val_check_interval 2"
    options += " --trainer.enable_progress_bar false --wandb.mode disabled --run_dir run"
    assert fit.main(["--experiment", "tiny_net_celeba", "--data.root", str(images), *options.split()]) == 0
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
