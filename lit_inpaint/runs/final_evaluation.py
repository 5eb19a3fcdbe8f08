"""Evaluate the final weights of a run on the validation set, write `final_evaluation.json` and print the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lit_inpaint.evaluation.baselines import BASELINES
from lit_inpaint.evaluation.comparison_tables import build_table, print_table
from lit_inpaint.evaluation.comparison_text import describe_comparison, describe_evaluation
from lit_inpaint.evaluation.evaluator import Completion, apply_subsampling, evaluate
from lit_inpaint.metrics import DistributionMetrics, Protocol
from lit_inpaint.runs.checkpoint_file import load
from lit_inpaint.runs.run_dir import RunDir
from lit_inpaint.storage.output_files import write_json, write_output

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from lit_inpaint.data import InpaintingData
    from lit_inpaint.engine.inpainter import Inpainter


def evaluate_final_weights(
    trainer: Trainer,
    model: Inpainter,
    data: InpaintingData,
    run: RunDir,
    protocol: Protocol,
    distribution: DistributionMetrics | None,
    baselines: bool,
    compare: Sequence[str],
    check_deadline: Callable[[], None],
) -> None:
    """Evaluate `last.ckpt`, with EMA weights where the run has them; print the table and the contents of the run directory.

    Args:
        trainer: of the run; training has ended.
        model: the paper.
        data: the data module.
        run: the run directory.
        protocol: metrics and mask-ratio buckets.
        distribution: builds metrics of all samples together, None for none.
        baselines: also evaluate classical methods.
        compare: also evaluate these checkpoints or model folders.
        check_deadline: called before each completion; may raise to stop the evaluation.
    """
    data.trainer = None  # the loader then holds the samples of all processes, not those of this one
    device = trainer.strategy.root_device
    final = load(run.last).to(device)
    name = model.label
    methods = {name: apply_subsampling(protocol, final.complete)}
    for path in compare:
        other = load(path).to(device)
        methods[f"{other.label}, {path}"] = apply_subsampling(protocol, other.complete)
    methods |= BASELINES if baselines else {}
    methods = {name: _with_deadline(method, check_deadline) for name, method in methods.items()}
    scores = evaluate(methods, data.val_dataloader(), protocol, device, distribution)
    rows = scores.rows()
    manifest = data.manifest("val")
    with write_output(run.manifest) as part:
        manifest.write(part)
    images = f"{type(data).__name__}: {data.images().note}"
    write_json(run.final_evaluation, {"images": images, "rows": [{**row, "manifest": manifest.digest} for row in rows]})
    title = f"{name} after {trainer.global_step} steps, validation set, {data.val_transform.describe(data.size)}"
    columns = next(iter(scores.distribution_scores.values()), ())
    print_table(build_table(rows, protocol, title, describe_evaluation(scores, data, manifest), columns))
    for line in [*scores.notes(), *describe_comparison(rows, protocol, name)]:
        print(line)
    print(f"\nRun directory: {run.path}")
    if run.samples.is_dir():
        print("  samples/     masked input, output, composite, target at validations")
    best = (run.checkpoints / "best.ckpt").is_file()
    print(f"  checkpoints/ last.ckpt{' and best.ckpt' if best else '; no best.ckpt without validation'}")
    if (run.path / "tensorboard").is_dir():
        print("  tensorboard/ event files")
    print("  metrics.csv, final_evaluation.json, val_manifest.csv (the evaluated samples), config.yaml, launches.yaml")


def _with_deadline(method: Completion, check_deadline: Callable[[], None]) -> Completion:
    def complete(image: Tensor, mask: Tensor) -> Tensor:
        check_deadline()
        return method(image, mask)

    return complete
