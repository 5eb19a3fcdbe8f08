from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from PIL import Image

from lit_inpaint.callbacks import SampleGrids, samples
from lit_inpaint.errors import UserError
from lit_inpaint.types import Batch
from lit_inpaint.visualization import grids
from lit_inpaint.visualization.grids import GridRow


class Net:
    pass


def draw(folder: Path, total: int, batch_size: int, count: int) -> list[str]:
    """Return the names in the rows drawn from `total` samples, which are named by their index."""
    loader = SimpleNamespace(sampler=range(total))
    trainer = cast(Any, SimpleNamespace(val_dataloaders=loader, is_global_zero=True, global_step=7, loggers=[]))
    grids = SampleGrids(folder, count)
    grids.on_validation_start(trainer, cast(Any, Net()))
    for start in range(0, total, batch_size):
        names = [str(number) for number in range(start, min(start + batch_size, total))]
        image = torch.full((len(names), 3, 8, 8), 0.25)
        mask = torch.zeros(len(names), 1, 8, 8)
        mask[..., :4, :] = 1
        batch: Batch = {"image": image, "mask": mask, "name": names}
        grids.on_validation_batch_end(trainer, cast(Any, Net()), {"image": image * 2}, batch, 0)
    rows = list(grids._rows)
    grids.on_validation_epoch_end(trainer, cast(Any, Net()))
    for row in rows:
        masked, output, whole, target = row.images
        assert torch.equal(target, torch.full((3, 8, 8), 0.25))
        assert torch.equal(output, target * 2)
        assert torch.equal(whole[:, 4:], target[:, 4:])
        assert torch.equal(whole[:, :4], output[:, :4])
        assert not torch.equal(masked[:, :4], target[:, :4])
        assert torch.equal(masked[:, 4:], target[:, 4:])
        assert "mask ratio 50%" in row.label
    return [row.label.splitlines()[0] for row in rows]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_rows_are_spread_over_the_set_and_its_masks(batch_size: int, tmp_path: Path) -> None:
    names = draw(tmp_path / "samples", 16, batch_size, 4)
    assert names == ["0", "5", "10", "15"]
    assert [int(name) % 4 for name in names] == [0, 1, 2, 3]  # with four mask sources, one row of each
    with Image.open(tmp_path / "samples" / "step_0000007.png") as page:
        assert page.width > page.height > 100


def test_stages_that_are_images_have_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[list[GridRow], tuple[str, ...]]] = []

    def draw_grid(rows: list[GridRow], columns: tuple[str, ...], title: str) -> Image.Image:
        drawn.append((list(rows), columns))
        return grids.draw_grid(rows, columns, title)

    monkeypatch.setattr(samples, "draw_grid", draw_grid)
    trainer = cast(Any, SimpleNamespace(
        val_dataloaders=SimpleNamespace(sampler=range(1)), is_global_zero=True, global_step=7, loggers=[]
    ))  # fmt: skip
    image, edges, coarse = torch.full((1, 3, 8, 8), 0.25), torch.ones(1, 1, 8, 8), torch.zeros(1, 3, 4, 4)
    batch: Batch = {"image": image, "mask": torch.zeros(1, 1, 8, 8), "name": ["a"]}
    outputs = {"image": image, "predicted_edges": edges, "coarse": coarse, "features": torch.zeros(1, 64, 4, 4)}
    callback = SampleGrids(tmp_path, 1)
    callback.on_validation_start(trainer, cast(Any, Net()))
    callback.on_validation_batch_end(trainer, cast(Any, Net()), outputs, batch, 0)
    callback.on_validation_epoch_end(trainer, cast(Any, Net()))
    (((row,), columns),) = drawn
    assert columns == ("masked input", "predicted edges", "coarse", "output", "composite", "target")
    assert torch.equal(row.images[1], edges[0])
    assert torch.equal(row.images[2], coarse[0])


def test_fewer_samples_than_rows(tmp_path: Path) -> None:
    assert len(draw(tmp_path, 3, 2, 8)) >= 2
    assert draw(tmp_path / "none", 3, 2, 0) == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("every", "drawn"), [(0, [4, 8, 12, 16, 20]), (4, [4, 8, 12, 16, 20]), (6, [4, 12, 20]), (9, [4, 16])])
@pytest.mark.parametrize("resumed", [False, True])
def test_grids_at_an_interval(every: int, drawn: list[int], resumed: bool, tmp_path: Path) -> None:
    grids = SampleGrids(tmp_path, 1, every)
    for step in (4, 8, 12, *((8, 12) if resumed else ()), 16, 20):
        if resumed:
            grids = SampleGrids(tmp_path, 1, every)  # another process, as after a resume
        trainer = cast(Any, SimpleNamespace(
            val_dataloaders=SimpleNamespace(sampler=range(1)), is_global_zero=True, global_step=step, loggers=[]
        ))  # fmt: skip
        grids.on_validation_start(trainer, cast(Any, Net()))
        image = torch.full((1, 3, 8, 8), 0.25)
        batch: Batch = {"image": image, "mask": torch.zeros(1, 1, 8, 8), "name": ["a"]}
        grids.on_validation_batch_end(trainer, cast(Any, Net()), {"image": image}, batch, 0)
        grids.on_validation_epoch_end(trainer, cast(Any, Net()))
    assert sorted(int(path.stem.removeprefix("step_")) for path in tmp_path.iterdir()) == drawn


@pytest.mark.parametrize(("count", "every"), [(-1, 0), (8, -5)])
def test_negative_numbers_are_an_error(tmp_path: Path, count: int, every: int) -> None:
    with pytest.raises(UserError, match="neither may be negative"):
        SampleGrids(tmp_path, count, every)


def test_other_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "step_copy.png").touch()
    (tmp_path / "step_0000004.png").touch()
    assert not SampleGrids(tmp_path, every=3)._is_due(6)
    assert SampleGrids(tmp_path, every=3)._is_due(7)
