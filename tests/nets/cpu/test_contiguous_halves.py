import pytest
import torch

from lit_inpaint.nets.cpu.contiguous_halves import contiguous_halves


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_halves(layout: torch.memory_format) -> None:
    x = torch.rand(2, 6, 4, 5).to(memory_format=layout)
    halves = contiguous_halves(x)
    assert all(torch.equal(half, expected) for half, expected in zip(halves, (x[:, :3], x[:, 3:]), strict=True))
    if layout == torch.channels_last:
        assert all(half.is_contiguous(memory_format=layout) for half in halves)
