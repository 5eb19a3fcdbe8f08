from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn
from page_client import Client

from lit_inpaint.app.methods import Method, filler_of
from lit_inpaint.app.server import Limits, build
from lit_inpaint.app.sockets import listen
from lit_inpaint.evaluation.baselines import ClassicalMethod, telea
from lit_inpaint.papers import EdgeConnect

LIMITS = Limits(max_bytes=2_000_000, max_pixels=1_000_000)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the page is served, with OpenCV's Telea and an untrained EdgeConnect."""
    torch.manual_seed(0)
    methods = [
        Method("telea", "Telea", filler_of(ClassicalMethod("Telea", telea)), selected=True, max_hole=50_000),
        Method("edgeconnect", "EdgeConnect", filler_of(EdgeConnect(width=2, discriminator_width=2).eval())),
    ]
    with listen("127.0.0.1", 0) as socket:
        app = build(methods, LIMITS)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture
def client(address: str) -> Client:
    return Client(address)


@pytest.fixture
def pixels() -> np.ndarray[Any, Any]:
    """A picture of 40x30 pixels."""
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture
def hole() -> np.ndarray[Any, Any]:
    """A mask of its size, 255 = hole."""
    mask = np.zeros((30, 40), np.uint8)
    mask[10:20, 5:15] = 255
    return mask
