"""Create a W&B workspace of inpainting runs: `python -m lit_inpaint.dashboard --project lit_inpaint`."""

from __future__ import annotations

import os

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser
from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import output_file, write_json

_EPILOG = """
With a W&B key (`wandb login`) the workspace is saved on W&B and its address printed. Without one it is written as JSON; repeat
the command once there is a key.
"""
_NAME = "Inpainting"
_DEFAULT_FILE = "dashboard.json"
_TIMEOUT_S = 30


def main(argv: list[str]) -> int:
    """Save the workspace on W&B or as JSON; returns the exit status."""
    parser = CommandParser("dashboard", "A W&B workspace with panels for the progress of inpainting runs.", _EPILOG)
    parser.add_argument("--project", metavar="NAME", default="lit_inpaint", help="W&B project (default lit_inpaint)")
    parser.add_argument("--entity", metavar="NAME", help="user or team that owns the project (default: that of the key)")
    parser.add_argument("--name", metavar="NAME", default=_NAME, help=f"of the workspace (default {_NAME})")
    parser.add_argument(
        "--output", metavar="FILE.json", help=f"also write it to this file (default without a key: {_DEFAULT_FILE})"
    )
    options = parser.parse_args(argv)
    output = output_file(options.output, ".json") if options.output is not None else None
    try:
        import wandb_workspaces.workspaces  # noqa: F401  reports a missing package before any request to the server
    except ImportError:
        raise UserError("wandb-workspaces is not installed; run pip install 'lit_inpaint[dashboard]'") from None

    from lit_inpaint.loggers.wandb import has_api_key
    from lit_inpaint.reporting.wandb_workspace import build_workspace

    entry_point.silence_warnings()
    os.environ.setdefault("WANDB_SILENT", "true")
    has_key = has_api_key()
    entity = options.entity or (_default_entity() if has_key else "")
    workspace = build_workspace(options.name, entity, options.project)
    if not has_key:
        output = output or output_file(_DEFAULT_FILE, ".json")
    if output is not None:
        write_json(output, workspace._to_model().model_dump(mode="json", by_alias=True, exclude_none=True))
        panels = sum(len(section.panels) for section in workspace.sections)
        print(f"Workspace {options.name!r} with {panels} panels in {output}")
    if not has_key:
        print("No W&B key is known here; to save it on W&B: wandb login, then the same command again")
        return 0
    try:
        print(f"Workspace {options.name!r}: {workspace.save().url}")
    except Exception as error:  # of several libraries: requests, gql, wandb
        raise UserError(f"W&B refused the workspace ({_first_line(error)}); --output FILE.json writes it here") from error
    return 0


def _default_entity() -> str:
    """User or team of the key."""
    import wandb

    try:
        return str(wandb.Api(timeout=_TIMEOUT_S).default_entity or "")
    except Exception as error:  # of several libraries: requests, gql, wandb
        raise UserError(f"no answer from W&B ({_first_line(error)}); name --entity, or fix the key: wandb login") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


if __name__ == "__main__":
    entry_point.run_command(main)
