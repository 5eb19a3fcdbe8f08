"""The house's statics: imports only go down, and a few things that must never be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lit_inpaint

HOUSE = Path(lit_inpaint.__file__).parent

# From the ground up. A unit (module or folder of `lit_inpaint/`) may import from lines above its own only.
FLOORS: tuple[set[str], ...] = (
    {"types", "published", "cache", "cost_notes", "machine", "signals"},
    {"schedules", "pretrained", "slurm"},
    {"settings", "launch"},
    {"agreement", "nets", "losses", "masks", "metrics", "baselines", "drawing", "output"},
    {"training", "tables"},
    {"engine", "data"},
    {"papers", "callbacks", "checkpoint", "unfinished", "labels"},
    {"cli", "complaints"},
    {"configuration"},
    {"evaluation", "run_dir", "arguments", "pairing", "initialisation", "preparation", "measuring", "reporting"},
    {"closing"},
    {"fit", "evaluate", "inpaint", "cost", "preview", "fetch", "prepare", "report", "dashboard"},
)
FLOOR_OF = {unit: number for number, units in enumerate(FLOORS) for unit in units}

WITHOUT_LIGHTNING = {
    "types",
    "schedules",
    "settings",
    "plan",
    "published",
    "pretrained",
    "nets",
    "losses",
    "masks",
    "metrics",
    "baselines",
    "drawing",
}
STRANGERS = {("papers", "data"), ("masks", "metrics"), ("metrics", "masks"), ("losses", "masks"), ("losses", "metrics")}

FILES = sorted(HOUSE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(), str(path)) for path in FILES}


def unit_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Full dotted names of everything imported anywhere in a file: at the top, inside functions, and for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module!r}: this test reads absolute ones only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def house_imports(path: Path) -> set[str]:
    """The units that a file imports from, its own left out. `lit_inpaint.load` is at home in `checkpoint`."""
    units = {name.split(".")[1] for name in imports(TREES[path]) if name.startswith("lit_inpaint.")}
    return {"checkpoint" if unit == "load" else unit for unit in units} - {unit_of(path), "__version__"}


HOUSE_FILES = [path for path in FILES if path != HOUSE / "__init__.py"]  # the doorman lends names from all floors, lazily
each_file = pytest.mark.parametrize("path", HOUSE_FILES, ids=lambda path: str(path.relative_to(HOUSE)))


def test_every_module_has_a_floor() -> None:
    homeless = sorted({unit_of(path) for path in HOUSE_FILES} - FLOOR_OF.keys())
    assert not homeless, f"say in FLOORS (tests/test_floors.py) on which floor these live: {', '.join(homeless)}"


def test_the_table_lists_no_unit_twice() -> None:
    assert sum(map(len, FLOORS)) == len(FLOOR_OF)


@each_file
def test_imports_go_down(path: Path) -> None:
    unit = unit_of(path)
    own = FLOOR_OF.get(unit, len(FLOORS))
    wrong = [
        f"{path.relative_to(HOUSE)} (floor {own}) imports {other} (floor {FLOOR_OF[other]})"
        for other in sorted(house_imports(path))
        if other in FLOOR_OF and FLOOR_OF[other] >= own
    ]
    assert not wrong, "; ".join(wrong)


@each_file
def test_nobody_imports_what_is_not_there(path: Path) -> None:
    """`from lit_inpaint import x` of something unplaced would slip past the floors."""
    unknown = house_imports(path) - FLOOR_OF.keys()
    assert not unknown, f"{path.relative_to(HOUSE)} imports {', '.join(sorted(unknown))}, which FLOORS does not know"


@each_file
def test_strangers_stay_strangers(path: Path) -> None:
    met = [other for other in house_imports(path) if (unit_of(path), other) in STRANGERS]
    assert not met, f"{path.relative_to(HOUSE)} imports {', '.join(met)}"


@each_file
def test_lightning_stays_upstairs(path: Path) -> None:
    if unit_of(path) not in WITHOUT_LIGHTNING:
        return
    found = [
        name for name in imports(TREES[path]) if name.split(".")[0] in ("lightning", "pytorch_lightning", "lightning_fabric")
    ]
    assert not found, f"{path.relative_to(HOUSE)} imports {', '.join(found)}"


def test_papers_do_not_know_each_other() -> None:
    papers = [path for path in (HOUSE / "papers").rglob("*.py") if path.name != "__init__.py"]
    assert papers
    for path in papers:
        beside = [name for name in imports(TREES[path]) if name.startswith("lit_inpaint.papers")]
        assert not beside, f"{path.name} imports {', '.join(beside)}; what two papers share belongs to nets or losses"


def test_papers_do_not_step() -> None:
    """Whose turn it is, is the engine's business."""
    forbidden = {"training_step", "manual_backward", "zero_grad", "backward"}
    for path in (HOUSE / "papers").rglob("*.py"):
        for node in ast.walk(TREES[path]):
            name = node.name if isinstance(node, ast.FunctionDef) else node.attr if isinstance(node, ast.Attribute) else ""
            assert name not in forbidden, f"{path.name}:{node.lineno} has {name}"


def test_no_drawer_for_odds_and_ends() -> None:
    names = {"utils", "util", "common", "helpers", "misc"}
    assert not [str(path) for path in HOUSE.rglob("*") if path.stem in names]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_no_bare_except(path: Path) -> None:
    bare = [node.lineno for node in ast.walk(TREES[path]) if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert not bare, f"{path.relative_to(HOUSE)}, lines {bare}: name the exceptions"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_public_constructors_name_their_arguments(path: Path) -> None:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name in ("__init__", "__new__"):
                    assert item.args.kwarg is None, f"{path.relative_to(HOUSE)}: {node.name} takes **{item.args.kwarg.arg}"


def test_the_scan_sees_all_kinds_of_imports() -> None:
    source = "import lit_inpaint.a.b\nfrom lit_inpaint import c\ndef f():\n    from lit_inpaint.d import e\n"
    assert list(imports(ast.parse(source))) == ["lit_inpaint.a.b", "lit_inpaint.c", "lit_inpaint.d.e"]
