import os
from multiprocessing import context, reduction
from typing import Any

import pytest
import torch

from lit_inpaint.data.image_cache import ImageCache


class Start:
    """Stands for the start of a loader process by `spawn` or `forkserver`: it counts the descriptors that are sent."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def duplicate_for_child(self, descriptor: int) -> int:
        self.sent.append(os.dup(descriptor))
        return self.sent[-1]

    @staticmethod
    def DupFd(descriptor: int) -> Any:  # noqa: N802 (the name in multiprocessing)
        return Descriptor(descriptor)


class Descriptor:
    def __init__(self, number: int) -> None:
        self.number = number

    def detach(self) -> int:
        return self.number


@pytest.mark.parametrize("count", [0, 1, 40])
def test_processes_get_all_images_through_one_descriptor(count: int) -> None:
    cache, start = ImageCache(), Start()
    images = [torch.randint(0, 256, (5 + index % 3, 7, 3), dtype=torch.uint8).permute(2, 0, 1) for index in range(count)]
    for index, image in enumerate(images):
        cache[2 * index] = image
    context.set_spawning_popen(start)
    try:
        sent = [bytes(reduction.ForkingPickler.dumps(cache)) for _ in range(2)]
    finally:
        context.set_spawning_popen(None)
    assert len(start.sent) == 2 * (count > 0)
    for content in sent:
        received = reduction.ForkingPickler.loads(content)
        for index, image in enumerate(images):
            found = received.get(2 * index)
            assert torch.equal(found, image)
            assert found.stride() == image.stride()
        assert received.get(1) is None


def test_a_copy_that_starts_no_process_is_empty() -> None:
    cache = ImageCache()
    cache[0] = torch.zeros(3, 4, 4, dtype=torch.uint8)
    assert reduction.ForkingPickler.loads(reduction.ForkingPickler.dumps(cache)).get(0) is None
    assert cache.get(0) is not None
