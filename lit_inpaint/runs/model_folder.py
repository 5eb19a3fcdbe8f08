"""A trained generator as a folder in the layout of model hubs: `model.safetensors`, `config.json`, `README.md` (model card).

The weights are the generator's, in float16 or float32, without optimizers and discriminator. `lit_inpaint.load` and every
`--checkpoint` take the folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.storage.plain_data import check_plain_data, parse_json
from lit_inpaint.storage.regular_file import read_regular_file

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MAX_CONFIG_BYTES = 2**20
"""Maximum size of `config.json` in bytes."""
SHIPPED = "shipped"
"""Name of the network that comes with the package."""
_PACKAGED = Path(__file__).parents[1] / "pretrained"


def find_model_folder(path: Path) -> Path | None:
    """Return the model folder of `path`: the folder, the weights in it, or the name "shipped"; None where there is none."""
    folder = path.parent if path.name == WEIGHTS else _PACKAGED if str(path) == SHIPPED and not path.exists() else path
    return folder if (folder / CONFIG).is_file() else None


def write_model_folder(
    model: Inpainter, description: dict[str, Any], step: int, folder: Path, dtype: torch.dtype = torch.float16
) -> None:
    """Write the generator's weights, and what is needed to build it again.

    Args:
        model: the paper, with the weights that count (EMA).
        description: its `lit_inpaint` entry of a checkpoint.
        step: number of trained batches.
        folder: created if missing; existing files are replaced.
        dtype: of the weights in the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = model.generator.state_dict()
    weights = {name: (value.to(dtype) if value.is_floating_point() else value).contiguous() for name, value in state.items()}
    (folder / WEIGHTS).write_bytes(save(weights, {"format": "pt"}))
    kept = {name: description[name] for name in ("paper", "settings", "seed", "versions")}
    if model.trained_size is not None:
        kept["trained_size"] = model.trained_size
    text = json.dumps({"library_name": "lit_inpaint", "lit_inpaint": kept, "global_step": step}, indent=2)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def read_model_folder(folder: Path) -> dict[str, Any]:
    """Read a model folder as the contents of a checkpoint, marked `generator_only`.

    Raises:
        UserError: a file is missing or damaged, or the folder is of another library.
    """
    try:
        content: dict[str, Any] = parse_json(read_regular_file(folder / CONFIG, MAX_CONFIG_BYTES))
        check_plain_data(content, str(folder / CONFIG))
        if not isinstance(content, dict) or {"paper", "settings", "seed"} - content.get("lit_inpaint", {}).keys():
            raise UserError(f"{folder / CONFIG} is not of lit_inpaint: it names no paper")
        weights = load_file(folder / WEIGHTS)
    except UserError:
        raise
    except Exception as error:  # damaged JSON or safetensors may fail with any exception
        raise UserError(f"{folder} cannot be read as a model: {str(error).splitlines()[0]}") from error
    content["generator_only"] = True
    content["state_dict"] = {
        f"generator.{name}": value.float() if value.is_floating_point() else value for name, value in weights.items()
    }
    return content
