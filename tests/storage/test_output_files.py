import json
import math
from pathlib import Path

import pytest

from lit_inpaint.storage.output_files import write_json


def test_json_holds_numbers_alone_and_is_never_half_there(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_json(path, {"value": 1.5, "spread": None})
    for broken in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            write_json(path, {"value": 2.5, "spread": broken})
    assert json.loads(path.read_text()) == {"value": 1.5, "spread": None}
    assert [found.name for found in tmp_path.iterdir()] == ["scores.json"]
