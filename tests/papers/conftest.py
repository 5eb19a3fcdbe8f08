import pytest
import torch

from lit_inpaint.types import Batch


@pytest.fixture
def batch() -> Batch:
    """Two images of noise, 32x32: a square hole inside, and a hole along an edge."""
    rng = torch.Generator().manual_seed(7)
    mask = torch.zeros(2, 1, 32, 32)
    mask[0, :, 8:24, 8:24] = 1
    mask[1, :, :, :10] = 1
    return Batch(image=torch.rand(2, 3, 32, 32, generator=rng), mask=mask, name=["a", "b"])
