"""The last words of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from lit_inpaint.baselines import BASELINES
from lit_inpaint.checkpoint import load
from lit_inpaint.evaluation import Method, comparison, evaluate, measured_on
from lit_inpaint.metrics import LPI
from lit_inpaint.output import replacing, write_json
from lit_inpaint.run_folder import RunFolder
from lit_inpaint.tables import arrange, print_table

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from lit_inpaint.data import InpaintingData
    from lit_inpaint.engine import Inpainter


def close(
    trainer: Trainer, model: Inpainter, data: InpaintingData, run: RunFolder, baselines: bool, heed: Callable[[], None]
) -> None:
    """The table of the final weights (the average, where there is one), and where everything is.

    `heed` is called before each completion, and may raise what ends all this.
    """
    data.trainer = None  # this process alone measures, and so all samples
    device = trainer.strategy.root_device
    final = load(run.last).to(device)
    name = type(model).__name__
    methods = {name: final.complete, **(dict(BASELINES) if baselines else {})}
    methods = {name: _heeding(method, heed) for name, method in methods.items()}
    scores = evaluate(methods, data.val_dataloader(), LPI, device)
    found = scores.rows()
    manifest = data.manifest("val")
    with replacing(run.manifest) as part:
        manifest.write(part)
    write_json(run.table, {"rows": [{**row, "manifest": manifest.digest} for row in found]})
    title = f"{name} after {trainer.global_step} steps, validation set"
    print_table(arrange(found, LPI, title, measured_on(scores, data, manifest)))
    for line in [*scores.remarks(), *comparison(found, LPI, name)]:
        print(line)
    print(f"\nRun folder: {run.path}")
    if run.samples.is_dir():
        print("  samples/     masked input, output, composite, truth at validations")
    best = (run.checkpoints / "best.ckpt").is_file()
    print(f"  checkpoints/ last.ckpt{' and best.ckpt' if best else '; no best.ckpt without validation'}")
    if (run.path / "tensorboard").is_dir():
        print("  tensorboard/ event files")
    print("  metrics.csv, table.json, val_manifest.csv (the samples that table.json is about), config.yaml, machines.yaml")


def _heeding(method: Method, heed: Callable[[], None]) -> Method:
    def fill(image: Tensor, mask: Tensor) -> Tensor:
        heed()
        return method(image, mask)

    return fill
