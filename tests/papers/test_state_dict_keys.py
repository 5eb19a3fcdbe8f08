"""Checkpoints of earlier versions fit: names, order and shapes of all weights stay as they were."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from lit_inpaint import papers

DIGESTS = json.loads(Path(__file__).with_name("state_dict_keys.json").read_text())


@pytest.mark.parametrize("name", sorted(papers.__all__))
def test_weights_have_the_names_and_shapes_of_earlier_checkpoints(name: str) -> None:
    """A new paper's digest is added to the file. A digest is changed only together with a conversion of older checkpoints."""
    with torch.device("meta"):
        model = getattr(papers, name)()
    text = "\n".join(f"{key} {tuple(value.shape)}" for key, value in model.state_dict().items())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == DIGESTS[name]
