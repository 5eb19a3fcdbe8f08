"""Pytest plugin: create new tensors on the device that LIT_INPAINT_TEST_DEVICE names, in float32 without TF32."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def default_device() -> Iterator[None]:
    """Set the default device around each test."""
    torch.set_default_device(os.environ.get("LIT_INPAINT_TEST_DEVICE", "cpu"))
    yield
    torch.set_default_device("cpu")
