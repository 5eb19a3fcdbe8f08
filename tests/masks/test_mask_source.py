"""Properties of every source: shape, values, and randomness from the generator alone."""

import hashlib
import pickle
import random
import subprocess
import sys
from typing import get_args

import jsonargparse
import numpy as np
import pytest
import torch

from lit_inpaint.errors import UserError
from lit_inpaint.masks import (
    Boxes,
    CellularAutomaton,
    Center,
    CrossedStrokes,
    FreeForm,
    HalfImage,
    IrregularStrokes,
    LamaMasks,
    MaskRatio,
    MaskSource,
    MaskUnion,
    Mixture,
    PepsiStrokes,
    RandomFlipRot90,
    RandomFromFolder,
    RandomWalk,
    Shapes,
)
from lit_inpaint.masks.base import randint
from lit_inpaint.masks.lama_masks import LamaSet

RANDOM = [
    Boxes(),
    FreeForm(),
    CellularAutomaton(),
    CrossedStrokes(),
    MaskRatio(low=0.2, high=0.3),
    MaskRatio(FreeForm(strokes=(1, 1)), low=0.5, high=0.51),
    Mixture((Boxes(), FreeForm()), (1.0, 2.0)),
    *(LamaMasks(kind) for kind in get_args(LamaSet) if kind != "wavemix_stl10"),
    IrregularStrokes(),
    PepsiStrokes(),
    RandomFlipRot90(PepsiStrokes()),
    RandomWalk(canvas=128),
    RandomWalk(canvas=64, tracks=3),
    Shapes(),
    MaskUnion((FreeForm(), Boxes())),
    MaskRatio(LamaMasks("wavemix_stl10"), low=0.1, high=0.5),
]
SOURCES = [Center(), Center(size=12), HalfImage(), *RANDOM]
SIZES = [(64, 64), (256, 256), (48, 96), (97, 61)]


def draw(source: MaskSource, seed: int, size: tuple[int, int] = (64, 64)) -> torch.Tensor:
    return source(size, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_mask_is_binary_with_one_channel_and_a_hole(source: MaskSource, size: tuple[int, int]) -> None:
    rng = torch.Generator().manual_seed(1)
    for _ in range(5):
        mask = source(size, rng)
        assert mask.shape == (1, *size)
        assert mask.dtype == torch.float32
        assert set(mask.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_same_generator_state_gives_the_same_mask(source: MaskSource) -> None:
    rng = torch.Generator().manual_seed(5)
    first = [source((64, 64), rng) for _ in range(3)]
    rng.manual_seed(5)
    assert all(torch.equal(mask, source((64, 64), rng)) for mask in first)


@pytest.mark.parametrize("source", RANDOM, ids=str)
def test_seeds_and_successive_draws_differ(source: MaskSource) -> None:
    rng = torch.Generator().manual_seed(0)
    masks = [source((64, 64), rng) for _ in range(8)] + [draw(source, seed) for seed in range(1, 9)]
    assert len({mask.numpy().tobytes() for mask in masks}) == len(masks)


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_global_generators_are_neither_read_nor_advanced(source: MaskSource) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    mask = draw(source, 3)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert before[2] == np.random.get_state()[1].tobytes()  # noqa: NPY002
    torch.manual_seed(1)
    assert torch.equal(mask, draw(source, 3))


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_pickled_copy_draws_the_same(source: MaskSource) -> None:
    assert torch.equal(draw(pickle.loads(pickle.dumps(source)), 4), draw(source, 4))


NEW_PROCESS = """
import hashlib, torch
from lit_inpaint.masks import *
for source in [{sources}]:
    rng = torch.Generator().manual_seed(11)
    print(hashlib.sha256(b"".join(source((80, 64), rng).numpy().tobytes() for _ in range(4))).hexdigest())
"""


def test_new_process_draws_the_same() -> None:
    program = NEW_PROCESS.format(sources=", ".join(map(repr, SOURCES)))
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    expected = []
    for source in SOURCES:
        rng = torch.Generator().manual_seed(11)
        expected.append(hashlib.sha256(b"".join(source((80, 64), rng).numpy().tobytes() for _ in range(4))).hexdigest())
    assert printed == expected


def test_sources_can_be_written_in_yaml(tmp_path) -> None:
    def take(mask: MaskSource) -> MaskSource:
        return mask

    parser = jsonargparse.ArgumentParser()
    parser.add_function_arguments(take)
    config = """
      class_path: lit_inpaint.masks.Mixture
      init_args:
        sources:
        - class_path: lit_inpaint.masks.MaskRatio
          init_args: {low: 0.1, high: 0.2}
        - class_path: lit_inpaint.masks.Boxes
          init_args: {count: [1, 2], side: [0.3, 0.7]}
        - class_path: lit_inpaint.masks.MaskUnion
          init_args:
            sources:
            - {class_path: lit_inpaint.masks.LamaMasks, init_args: {kind: thin_512}}
            - {class_path: lit_inpaint.masks.RandomFlipRot90, init_args: {source: {class_path: lit_inpaint.masks.PepsiStrokes}}}
        weights: [1, 3, 2]
    """
    parsed = parser.parse_args([f"--mask={config}"])
    union = MaskUnion((LamaMasks("thin_512"), RandomFlipRot90(PepsiStrokes())))
    expected = Mixture((MaskRatio(FreeForm(), 0.1, 0.2), Boxes((1, 2), (0.3, 0.7)), union), (1.0, 3.0, 2.0))
    assert parser.instantiate(parsed).mask == expected
    # The dumped configuration restores the source, defaults included.
    assert parser.instantiate(parser.parse_string(parser.dump(parsed))).mask == expected


def test_mixture_follows_its_weights() -> None:
    sides = (Center(8), Center(16), Center(32))
    rng = torch.Generator().manual_seed(0)
    drawn = [int(Mixture(sides, (1.0, 0.0, 3.0))((64, 64), rng).sum()) for _ in range(400)]
    assert set(drawn) == {8**2, 32**2}
    assert drawn.count(32**2) == pytest.approx(300, abs=4 * (400 * 0.75 * 0.25) ** 0.5)


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: Center(size=0), r"Center\.size is 0"),
        (lambda: Boxes(count=(3, 1)), r"Boxes\.count"),
        (lambda: Boxes(side=(0.5, 1.5)), r"Boxes\.side"),
        (lambda: Boxes(margin=0.5), r"Boxes\.margin"),
        (lambda: FreeForm(strokes=(0, 1)), r"FreeForm\.strokes"),
        (lambda: FreeForm(width=(-0.1, 0.1)), r"FreeForm\.width"),
        (lambda: FreeForm(step=0.0), r"FreeForm\.step"),
        (lambda: MaskRatio(low=0.5, high=0.5), r"low=0\.5, high=0\.5"),
        (lambda: MaskRatio(attempts=1), r"MaskRatio\.attempts"),
        (lambda: Mixture(()), r"Mixture\.sources is empty"),
        (lambda: Mixture((Center(),), (1.0, 2.0)), r"2 values for 1 source"),
        (lambda: Mixture((Center(),), (0.0,)), r"not all of them 0"),
        (lambda: IrregularStrokes(strokes=(0, 1)), r"IrregularStrokes\.strokes"),
        (lambda: IrregularStrokes(width=(0.5, 2.0)), r"IrregularStrokes\.width"),
        (lambda: IrregularStrokes(angles=0), r"IrregularStrokes\.angles is 0"),
        (lambda: LamaMasks("wide"), r"LamaMasks\.kind is 'wide'; expected one of train, train_small, thin"),
        (lambda: PepsiStrokes(strokes=(0, 3)), r"PepsiStrokes\.strokes"),
        (lambda: PepsiStrokes(pieces=(0, 3)), r"PepsiStrokes\.pieces"),
        (lambda: PepsiStrokes(length=(0.3, 0.2)), r"PepsiStrokes\.length"),
        (lambda: PepsiStrokes(radius=(0.3, 1.2)), r"PepsiStrokes\.radius"),
        (lambda: RandomWalk(canvas=0), r"RandomWalk\.canvas is 0"),
        (lambda: RandomWalk(steps=0), r"RandomWalk\.steps is 0"),
        (lambda: RandomWalk(tracks=0), r"RandomWalk\.tracks is 0"),
        (lambda: Shapes(discs=(-1, 3)), r"Shapes\.discs"),
        (lambda: Shapes(min_thickness=0), r"Shapes\.min_thickness is 0"),
        (lambda: Shapes(max_thickness=1.5), r"Shapes\.max_thickness is 1\.5"),
        (lambda: MaskUnion(()), r"MaskUnion\.sources is empty"),
        (lambda: RandomFromFolder("/no/such/folder"), r"/no/such/folder does not exist"),
    ],
)
def test_invalid_options_are_errors_in_one_line_that_name_them(make, option: str) -> None:
    with pytest.raises(UserError, match=option) as caught:
        make()
    assert "\n" not in str(caught.value)


FROZEN: list[tuple[MaskSource, str]] = [
    (FreeForm(), "4c9103162b653dc1"),
    (MaskRatio(low=0.1, high=0.2), "8d75673fe812727e"),
    (MaskRatio(low=0.4, high=0.5), "efe2d9753df61ee4"),
    (Boxes(), "fd784955fb6bafe8"),
]


@pytest.mark.parametrize(("source", "digest"), FROZEN, ids=lambda value: str(value)[:40])
def test_masks_of_seeds_stay_the_same_in_all_versions(source: MaskSource, digest: str) -> None:
    """Manifests of evaluations name masks by their seeds."""
    content = hashlib.sha256(b"".join(draw(source, seed).numpy().astype(np.uint8).tobytes() for seed in range(50)))
    assert content.hexdigest()[:16] == digest


@pytest.mark.parametrize(("low", "high"), [(0, 0), (3, 10), (1, 4), (0, 255), (0, 256), (-2, 60)])
def test_integers_are_those_of_the_standard_library(low: int, high: int) -> None:
    ours, theirs = random.Random(7), random.Random(7)
    assert [randint(ours, low, high) for _ in range(200)] == [theirs.randint(low, high) for _ in range(200)]
    assert ours.getstate() == theirs.getstate()
