"""The layers: imports only go down, and a few things that must never be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lit_inpaint

PACKAGE = Path(lit_inpaint.__file__).parent

# From the bottom up. A unit (a module or folder of `lit_inpaint/`) may import only from lines above its own.
LAYERS: tuple[set[str], ...] = (
    # 0: what everything stands on
    {"types", "errors", "schedules"},
    {"settings", "storage", "visualization"},
    # 1: torch and torchmetrics, no Lightning
    {"edges", "nets", "losses", "masks", "metrics", "published"},
    # 2
    {"engine", "data"},
    # 3
    {"official_weights", "loggers"},
    {"papers", "callbacks"},
    # 4
    {"cluster", "evaluation", "profiling"},
    {"runs"},
    {"inpainting"},
    # 5
    {"config", "exporting", "reporting"},
    # 6: the commands
    {"fit", "evaluate", "inpaint", "convert", "export", "demo", "cost", "preview", "fetch", "prepare", "report", "dashboard"},
    {"app"},
)
LAYER_OF = {unit: number for number, units in enumerate(LAYERS) for unit in units}

WITHOUT_LIGHTNING = set().union(*LAYERS[:3])
INDEPENDENT = {("papers", "data"), ("masks", "metrics"), ("metrics", "masks"), ("losses", "masks"), ("losses", "metrics")}

FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(), str(path)) for path in FILES}


def unit_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Full dotted names of everything imported anywhere in a file: at the top, inside functions, and for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module!r}: this test reads absolute ones only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def unit_imports(path: Path) -> set[str]:
    """The units that a file imports from, without its own. `lit_inpaint.load` is defined in `runs`."""
    units = {name.split(".")[1] for name in imports(TREES[path]) if name.startswith("lit_inpaint.")}
    return {"runs" if unit == "load" else unit for unit in units} - {unit_of(path), "__version__"}


MODULES = [path for path in FILES if path != PACKAGE / "__init__.py"]  # it imports from all layers, lazily
each_file = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def test_every_module_has_a_layer() -> None:
    unlisted = sorted({unit_of(path) for path in MODULES} - LAYER_OF.keys())
    assert not unlisted, f"add these to LAYERS in tests/test_layers.py: {', '.join(unlisted)}"


def test_the_table_lists_no_unit_twice() -> None:
    assert sum(map(len, LAYERS)) == len(LAYER_OF)


@each_file
def test_imports_go_down(path: Path) -> None:
    unit = unit_of(path)
    own = LAYER_OF.get(unit, len(LAYERS))
    wrong = [
        f"{path.relative_to(PACKAGE)} (layer {own}) imports {other} (layer {LAYER_OF[other]})"
        for other in sorted(unit_imports(path))
        if other in LAYER_OF and LAYER_OF[other] >= own
    ]
    assert not wrong, "; ".join(wrong)


@each_file
def test_imports_are_of_listed_units(path: Path) -> None:
    """`from lit_inpaint import x` of something unplaced would pass the layer check unseen."""
    unknown = unit_imports(path) - LAYER_OF.keys()
    assert not unknown, f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(unknown))}, which LAYERS does not know"


@each_file
def test_independent_units_stay_independent(path: Path) -> None:
    met = [other for other in unit_imports(path) if (unit_of(path), other) in INDEPENDENT]
    assert not met, f"{path.relative_to(PACKAGE)} imports {', '.join(met)}"


@each_file
def test_lower_layers_do_not_import_lightning(path: Path) -> None:
    if unit_of(path) not in WITHOUT_LIGHTNING:
        return
    found = [
        name for name in imports(TREES[path]) if name.split(".")[0] in ("lightning", "pytorch_lightning", "lightning_fabric")
    ]
    assert not found, f"{path.relative_to(PACKAGE)} imports {', '.join(found)}"


def test_papers_do_not_import_each_other() -> None:
    papers = [path for path in (PACKAGE / "papers").rglob("*.py") if path.name != "__init__.py"]
    assert papers
    for path in papers:
        beside = [name for name in imports(TREES[path]) if name.startswith("lit_inpaint.papers")]
        assert not beside, f"{path.name} imports {', '.join(beside)}; what two papers share belongs to nets or losses"


def test_papers_do_not_step() -> None:
    """The update order is the engine's."""
    forbidden = {"training_step", "manual_backward", "zero_grad", "backward"}
    for path in (PACKAGE / "papers").rglob("*.py"):
        for node in ast.walk(TREES[path]):
            name = node.name if isinstance(node, ast.FunctionDef) else node.attr if isinstance(node, ast.Attribute) else ""
            assert name not in forbidden, f"{path.name}:{node.lineno} has {name}"


def test_no_utils_module() -> None:
    names = {"utils", "util", "common", "helpers", "misc"}
    assert not [str(path) for path in PACKAGE.rglob("*") if path.stem in names]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_bare_except(path: Path) -> None:
    bare = [node.lineno for node in ast.walk(TREES[path]) if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert not bare, f"{path.relative_to(PACKAGE)}, lines {bare}: name the exceptions"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_constructors_name_their_arguments(path: Path) -> None:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name in ("__init__", "__new__"):
                    assert item.args.kwarg is None, f"{path.relative_to(PACKAGE)}: {node.name} takes **{item.args.kwarg.arg}"


def test_the_scan_sees_all_kinds_of_imports() -> None:
    source = "import lit_inpaint.a.b\nfrom lit_inpaint import c\ndef f():\n    from lit_inpaint.d import e\n"
    assert list(imports(ast.parse(source))) == ["lit_inpaint.a.b", "lit_inpaint.c", "lit_inpaint.d.e"]
