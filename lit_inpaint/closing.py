"""The last words of a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lit_inpaint.baselines import BASELINES
from lit_inpaint.checkpoint import load
from lit_inpaint.evaluation import comparison, evaluate, print_table
from lit_inpaint.metrics import LPI
from lit_inpaint.run_folder import RunFolder

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
    found = evaluate(methods, data.val_dataloader(), LPI, device)
    manifest = data.manifest("val")
    manifest.write(run.manifest)
    rows = [{**row, "manifest": manifest.digest} for row in found]
    run.table.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print_table(found, LPI, f"{name} after {trainer.global_step} steps, validation set; * = best")
    for line in comparison(found, LPI, name):
        print(line)
    print(f"\nRun folder: {run.path}")
    if run.samples.is_dir():
        print("  samples/     masked input, output, composite, truth at each validation")
        print("  checkpoints/ last.ckpt and best.ckpt")
    else:
        print("  checkpoints/ last.ckpt; no samples and no best.ckpt, since the run ended before its first validation")
    print("  metrics.csv, table.json, val_manifest.csv (the samples that table.json is about), config.yaml")
