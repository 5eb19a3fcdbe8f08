import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_gan
import yaml


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Options for a run of a few hundred parameters, which stands as a paper of the package meanwhile."""
    path: Path = tmp_path_factory.mktemp("experiment") / "tiny.yaml"
    model = {"class_path": "lit_inpaint.papers.tiny_gan.TinyGAN"}
    data = {"class_path": "lit_inpaint.data.DemoPhotos", "init_args": {"workers": 0}}
    path.write_text(yaml.safe_dump({"model": model, "data": data}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_gan.TinyGAN, "__module__", "lit_inpaint.papers.tiny_gan")
        patch.setitem(sys.modules, "lit_inpaint.papers.tiny_gan", tiny_gan)
        yield ["--experiment", str(path)]
