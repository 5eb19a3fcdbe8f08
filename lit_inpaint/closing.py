"""The last words of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lit_inpaint.baselines import BASELINES
from lit_inpaint.checkpoint import load
from lit_inpaint.evaluation import comparison, evaluate, measured_on
from lit_inpaint.metrics import LPI
from lit_inpaint.output import replacing, write_json
from lit_inpaint.run_folder import RunFolder
from lit_inpaint.tables import arrange, print_table

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from lit_inpaint.data import InpaintingData
    from lit_inpaint.engine import Inpainter


def close(trainer: Trainer, model: Inpainter, data: InpaintingData, run: RunFolder, baselines: bool) -> None:
    """The table of the final weights (the average, where there is one), and where everything is."""
    data.trainer = None  # this process alone measures, and so all samples
    device = trainer.strategy.root_device
    final = load(run.last).to(device)
    name = type(model).__name__
    methods = {name: final.complete, **(dict(BASELINES) if baselines else {})}
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
        print("  samples/     masked input, output, composite, truth at each validation")
        print("  checkpoints/ last.ckpt and best.ckpt")
    else:
        print("  checkpoints/ last.ckpt; no samples and no best.ckpt, since the run ended before its first validation")
    print("  metrics.csv, table.json, val_manifest.csv (the samples that table.json is about), config.yaml")
