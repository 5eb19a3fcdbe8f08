from pathlib import Path

import pytest

from lit_inpaint.storage.cache_dir import cache_dir


def test_the_cache_is_in_the_home_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIT_INPAINT_CACHE", raising=False)
    assert cache_dir() == Path.home() / ".cache" / "lit_inpaint"
    monkeypatch.setenv("LIT_INPAINT_CACHE", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"
