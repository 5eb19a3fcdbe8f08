import pytest
import torch
from torch.utils.data import DataLoader

from lit_inpaint.evaluation.comparison_grid import draw_comparison_grid
from lit_inpaint.visualization import grids


def test_the_grid_shows_evenly_spaced_samples_as_composites(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten samples in batches of four, three rows: samples 0, 4 and 8 (0, 3 + 1, 6 + 2)."""
    images = torch.arange(10).view(10, 1, 1, 1).expand(10, 3, 4, 4) / 10
    mask = torch.zeros(1, 4, 4)
    mask[:, 1:3, 1:3] = 1
    samples = [{"image": image, "mask": mask, "name": f"folder/{i}.png"} for i, image in enumerate(images)]
    drawn = []
    monkeypatch.setattr(grids, "draw_grid", lambda rows, columns, title: drawn.append((rows, columns, title)))
    methods = {"gray": lambda image, mask: torch.full_like(image, 0.5), "out_of_range": lambda image, mask: 7 - image}
    draw_comparison_grid(methods, DataLoader(samples, 4), 3, "all", torch.device("cpu"))
    ((drawn_rows, columns, title),) = drawn
    assert (columns, title) == (["masked input", "gray", "out_of_range", "target"], "all")
    assert [row.label for row in drawn_rows] == ["0.png\nmask ratio 25%", "4.png\nmask ratio 25%", "8.png\nmask ratio 25%"]
    for row, i in zip(drawn_rows, (0, 4, 8), strict=True):
        masked, gray, out_of_range, target = row.images
        assert torch.equal(target, images[i])
        for composite, value in ((masked, 1.0), (gray, 0.5), (out_of_range, 1.0)):
            assert torch.equal(composite, torch.where(mask > 0.5, value, images[i]))
