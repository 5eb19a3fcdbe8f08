"""What holds for every paper: it sees known pixels and the mask, not what the holes hold, and says a raw image."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from golden import CURVES

from lit_inpaint import papers
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.types import Batch

MODELS: dict[str, Callable[[], Inpainter]] = {
    **CURVES,
    "wavemix official": partial(papers.WaveMix, variant="official", modules=2, blocks=2, dimension=16),
    "wavemix wavepaint": partial(papers.WaveMix, variant="wavepaint", modules=2, blocks=2, dimension=16),
}


def test_no_paper_is_left_out() -> None:
    classes = {getattr(papers, name) for name in papers.__all__}
    assert {type(make()) for make in MODELS.values()} == classes


@pytest.mark.parametrize("name", MODELS)
def test_the_content_of_holes_is_ignored(name: str, batch: Batch) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    garbage = torch.where(batch["mask"] == 1, torch.rand(2, 3, 32, 32), batch["image"])
    changed = batch["image"].clone()
    changed[0, :, 0, 0] = 1 - changed[0, :, 0, 0]
    with torch.no_grad():
        image = model(batch["image"], batch["mask"]).image
        assert torch.equal(model(garbage, batch["mask"]).image, image)
        assert not torch.equal(model(changed, batch["mask"]).image, image), "but that of known pixels is not"
        assert not torch.equal(model(garbage, 1 - batch["mask"]).image, image), "nor is the mask"
