import pytest
import torch

from lit_inpaint.engine.tf32 import describe_precision, set_tf32, tf32_off


def switches() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def restored_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)


def test_both_switches_are_set() -> None:
    before = switches()
    try:
        set_tf32(True)
        assert switches() == ("high", True)
        with tf32_off():
            assert switches() == ("highest", False)
        assert switches() == ("high", True)
        set_tf32(False)
        assert switches() == ("highest", False)
    finally:
        torch.set_float32_matmul_precision(before[0])


def test_the_summary_names_tf32_where_it_is_used() -> None:
    assert describe_precision("32-true", True, (9, 0)) == "32-true, float32 products in TF32 (--tf32 false switches it off)"
    for tf32, capability in ((True, None), (True, (7, 5)), (False, (9, 0))):
        assert describe_precision("32-true", tf32, capability) == "32-true"
