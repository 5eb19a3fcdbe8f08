import pytest
import torch
from PIL import Image
from run_directories import sample_grid

from lit_inpaint.reporting.sample_grids import cut_grid
from lit_inpaint.reporting.worst_and_best import worst_and_best


def test_cut_a_grid_and_rank_its_rows() -> None:
    examples = cut_grid(sample_grid(30))
    assert [example.target.size for example in examples] == [(160, 160)] * 4
    psnrs = [example.scores["psnr"] for example in examples]
    assert psnrs == sorted(psnrs, reverse=True)
    mask_ratio, error = 16 * 24 / 40**2, 0.02
    assert psnrs[0] == pytest.approx(-10 * torch.tensor(mask_ratio * error**2).log10().item(), abs=0.4)
    worst, best = worst_and_best(examples, 3)
    assert [example.name for example in worst] == ["row 4 of the grid", "row 3 of the grid"]
    assert [example.name for example in best] == ["row 1 of the grid", "row 2 of the grid"]


@pytest.mark.parametrize("stages", [1, 2])
def test_columns_of_stages_are_left_out(stages: int) -> None:
    plain, found = (cut_grid(sample_grid(30, stages=number)) for number in (0, stages))
    assert [example.scores for example in found] == [example.scores for example in plain]
    for one, other in zip(found, plain, strict=True):
        assert one.masked.tobytes() == other.masked.tobytes()


def test_another_layout_has_no_examples() -> None:
    assert cut_grid(Image.new("RGB", (300, 200), "white")) == []
