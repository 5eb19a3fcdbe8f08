from pathlib import Path

import pytest
from run_directories import write_run

from lit_inpaint.errors import UserError
from lit_inpaint.reporting.load_runs import best_point, load_runs


def test_labels_are_as_short_as_tells_runs_apart(tmp_path: Path) -> None:
    run, other = write_run(tmp_path / "one"), write_run(tmp_path / "elsewhere" / "one")
    assert [record.label for record in load_runs([run, other])] == [f"{tmp_path.name}/one", "elsewhere/one"]
    assert [record.label for record in load_runs([run])] == ["one"]
    with pytest.raises(UserError, match="named twice"):
        load_runs([run, run])


def test_curves_and_settings(tmp_path: Path) -> None:
    (record,) = load_runs([write_run(tmp_path / "one")])
    assert record.curves["val/ssim"] == ((10, 0.635), (20, 0.645), (30, 0.655))
    assert record.validation_columns()[-2:] == ["val/10-20%/psnr", "val/20-30%/psnr"]
    assert (record.paper, record.last_step, record.stages) == ("LPINet", 30, [(10, "adversarial")])
    assert record.settings()["model.init_args.generator_optimizer.init_args.lr"] == "0.001"


def test_the_best_point_is_finite() -> None:
    points = ((1, 3.0), (2, float("nan")), (3, float("inf")), (4, 5.0))
    assert best_point(points, higher_is_better=True) == (4, 5.0)
    assert best_point(points, higher_is_better=False) == (1, 3.0)
    assert best_point(points[1:3], higher_is_better=True) is None
