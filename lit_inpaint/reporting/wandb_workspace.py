"""W&B workspace of inpainting runs: its sections and panels."""

from __future__ import annotations

from typing import Any

from wandb_workspaces import workspaces as ws
from wandb_workspaces.reports import v2 as wr

from lit_inpaint.loggers.wandb import STEP
from lit_inpaint.metrics import LPI

TERMS = r"^train/(?!(generator|discriminator|mask_ratio|stage|images_per_second)$|d_|lr_|weight_).+$"
"""Log keys of the loss terms, which differ between papers: all of `train/…` that is nothing else."""
VALIDATION = r"^val_loss/.+$"
"""Log keys of the same terms on validation images, and of their weighted sum."""
WEIGHTS = r"^train/weight_.+$"
"""Log keys of the scheduled loss weights."""


def build_workspace(name: str, entity: str, project: str) -> ws.Workspace:
    """Build the workspace without any request to W&B.

    Args:
        name: of the workspace.
        entity: user or team; empty if unknown.
        project: W&B project.
    """
    columns = ["config:experiment", "config:effective_batch", "summary:train/stage", "summary:cost/parameters"]
    columns += [f"summary:{name}" for name in ("cost/macs", "val/psnr", "val/ssim", "val/l1")]
    return ws.Workspace(
        name=name,
        entity=entity,
        project=project,
        sections=build_sections(),
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=20),
        runset_settings=ws.RunsetSettings(pinned_columns=columns),
    )


def build_sections() -> list[ws.Section]:
    """Sections of the workspace: losses of both players, validation metrics, images, cost against quality, settings."""

    def lines(title: str, *keys: str, **options: Any) -> wr.LinePlot:
        return wr.LinePlot(title=title, x=STEP, y=[wr.Metric(key) for key in keys], title_x="step", **options)

    def scatter(cost: str, quality: str) -> wr.ScatterPlot:
        return wr.ScatterPlot(x=wr.SummaryMetric(f"cost/{cost}"), y=wr.SummaryMetric(f"val/{quality}"), log_x=True)

    by_bucket = [(metric, [f"val/{label}/{metric.name}" for label in LPI.labels]) for metric in LPI.metrics]
    return [
        ws.Section(
            name="Both players",
            is_open=True,
            panels=[
                lines("losses of both players, sums of weighted terms", "train/generator", "train/discriminator"),
                lines("discriminator's mean score of real and of completed images", "train/d_real", "train/d_fake"),
                wr.LinePlot(title="loss terms", x=STEP, metric_regex=TERMS, title_x="step"),
                wr.LinePlot(title="generator's losses on validation images", x=STEP, metric_regex=VALIDATION, title_x="step"),
            ],
        ),
        ws.Section(
            name="Validation metrics of composites",
            is_open=True,
            panels=[
                *(lines(f"{metric.name} by mask ratio", *keys, title_y=metric.unit or None) for metric, keys in by_bucket),
                *(lines(f"{metric.name}, all samples", f"val/{metric.name}") for metric in LPI.metrics),
            ],
        ),
        ws.Section(name="Images", is_open=True, panels=[wr.MediaBrowser(title="samples", media_keys=["val/samples"])]),
        ws.Section(
            name="Cost against quality, one point per run",
            is_open=True,
            panels=[scatter("macs", "psnr"), scatter("parameters", "psnr"), scatter("macs", "ssim")],
        ),
        ws.Section(
            name="Training",
            panels=[
                lines("learning rates", "train/lr_generator", "train/lr_discriminator"),
                wr.LinePlot(title="scheduled loss weights", x=STEP, metric_regex=WEIGHTS, title_x="step"),
                lines("images per second", "train/images_per_second"),
                lines("mean mask ratio of a batch", "train/mask_ratio"),
            ],
        ),
        ws.Section(name="Settings", panels=[wr.RunComparer(diff_only=True)]),
    ]
