"""The dashboard as code: `python -m lit_inpaint.dashboard --project lit_inpaint` makes a W&B workspace of the runs there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser
from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import output_file, write_json

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

_EPILOG = """
With a W&B key (`wandb login`) the workspace is saved there and its address printed; without one it is written as JSON, and the
same command saves it once there is a key.
"""
_NAME = "Inpainting"
_DEFAULT_FILE = "dashboard.json"
_PATIENCE = 30  # seconds for an answer of the server
TERMS = r"^train/(?!(generator|discriminator|mask_ratio|stage|images_per_second)$|d_|lr_|weight_).+$"
"""What is left of `train/…`: the loss terms, which every paper has others of."""
WEIGHTS = r"^train/weight_.+$"


def main(argv: list[str]) -> int:
    """Save the workspace, or write it down; returns the exit status."""
    parser = CommandParser("dashboard", "A W&B workspace with the panels that show how inpainting runs go.", _EPILOG)
    parser.add_argument("--project", metavar="NAME", default="lit_inpaint", help="W&B project (default lit_inpaint)")
    parser.add_argument("--entity", metavar="NAME", help="user or team that the project belongs to (default: the key's own)")
    parser.add_argument("--name", metavar="NAME", default=_NAME, help=f"of the workspace (default {_NAME})")
    parser.add_argument(
        "--output", metavar="FILE.json", help=f"write it there, too (default: {_DEFAULT_FILE}, where there is no key)"
    )
    options = parser.parse_args(argv)
    output = output_file(options.output, ".json") if options.output is not None else None
    try:
        import wandb_workspaces.workspaces  # noqa: F401  needed further down; said here, before anything is asked
    except ImportError:
        raise UserError("wandb-workspaces is not installed; run pip install 'lit_inpaint[dashboard]'") from None

    from lit_inpaint.loggers.wandb import has_api_key

    entry_point.silence_warnings()
    os.environ.setdefault("WANDB_SILENT", "true")
    known = has_api_key()
    entity = options.entity or (_own_entity() if known else "")
    workspace = build(options.name, entity, options.project)
    if not known:
        output = output or output_file(_DEFAULT_FILE, ".json")
    if output is not None:
        write_json(output, workspace._to_model().model_dump(mode="json", by_alias=True, exclude_none=True))
        panels = sum(len(section.panels) for section in workspace.sections)
        print(f"Workspace {options.name!r} with {panels} panels in {output}")
    if not known:
        print("No W&B key is known here; to have it on W&B: wandb login, then the same command again")
        return 0
    try:
        print(f"Workspace {options.name!r}: {workspace.save().url}")
    except Exception as error:  # of several libraries: requests, gql, wandb
        raise UserError(f"W&B does not take the workspace ({_first_line(error)}); --output FILE.json keeps it here") from error
    return 0


def build(name: str, entity: str, project: str) -> Workspace:
    """The workspace; nobody is asked.

    Args:
        name: of the workspace.
        entity: user or team, empty where it is not known.
        project: W&B project.
    """
    from wandb_workspaces import workspaces as ws

    from lit_inpaint.loggers.wandb import STEP

    columns = ["config:experiment", "config:effective_batch", "summary:train/stage", "summary:cost/parameters"]
    columns += [f"summary:{name}" for name in ("cost/macs", "val/psnr", "val/ssim", "val/l1")]
    return ws.Workspace(
        name=name,
        entity=entity,
        project=project,
        sections=sections(),
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=20),
        runset_settings=ws.RunsetSettings(pinned_columns=columns),
    )


def sections() -> list[Section]:
    """What a reviewer looks at, from the question whether the two players are in balance to what quality costs."""
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as wr

    from lit_inpaint.loggers.wandb import STEP
    from lit_inpaint.metrics import LPI

    def lines(title: str, *keys: str, **more: Any) -> wr.LinePlot:
        return wr.LinePlot(title=title, x=STEP, y=[wr.Metric(key) for key in keys], title_x="step", **more)

    def cloud(cost: str, quality: str) -> wr.ScatterPlot:
        return wr.ScatterPlot(x=wr.SummaryMetric(f"cost/{cost}"), y=wr.SummaryMetric(f"val/{quality}"), log_x=True)

    ranges = [(measure, [f"val/{label}/{measure.name}" for label in LPI.labels]) for measure in LPI.metrics]
    return [
        ws.Section(
            name="Both players",
            is_open=True,
            panels=[
                lines("losses of both players, all terms weighted", "train/generator", "train/discriminator"),
                lines("D's mean score of real and of completed images", "train/d_real", "train/d_fake"),
                wr.LinePlot(title="terms of the losses", x=STEP, metric_regex=TERMS, title_x="step"),
            ],
        ),
        ws.Section(
            name="Quality of validation composites",
            is_open=True,
            panels=[
                *(lines(f"{measure.name} by damage", *keys, title_y=measure.unit or None) for measure, keys in ranges),
                *(lines(f"{measure.name}, all ranges", f"val/{measure.name}") for measure in LPI.metrics),
            ],
        ),
        ws.Section(name="Images", is_open=True, panels=[wr.MediaBrowser(title="samples", media_keys=["val/samples"])]),
        ws.Section(
            name="Cost against quality, a point for each run",
            is_open=True,
            panels=[cloud("macs", "psnr"), cloud("parameters", "psnr"), cloud("macs", "ssim")],
        ),
        ws.Section(
            name="Training",
            panels=[
                lines("learning rates", "train/lr_generator", "train/lr_discriminator"),
                wr.LinePlot(title="scheduled loss weights", x=STEP, metric_regex=WEIGHTS, title_x="step"),
                lines("images a second", "train/images_per_second"),
                lines("share of holes in a batch", "train/mask_ratio"),
            ],
        ),
        ws.Section(name="Settings", panels=[wr.RunComparer(diff_only=True)]),
    ]


def _own_entity() -> str:
    """The user or team that the key stands for."""
    import wandb

    try:
        return str(wandb.Api(timeout=_PATIENCE).default_entity or "")
    except Exception as error:  # of several libraries: requests, gql, wandb
        raise UserError(f"W&B does not answer ({_first_line(error)}); name --entity, or mend the key: wandb login") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


if __name__ == "__main__":
    entry_point.run_command(main)
