"""A batch reads no value from the device, so that no GPU waits for the host."""

from __future__ import annotations

from pathlib import Path

import pytest
from host_reads import CountInBatches, count_host_reads
from plain_loop import ORDERS
from tiny_gan import loader, make_batches, make_tiny, make_trainer

from lit_inpaint.callbacks import GeneratorEMA, NaNGuard, TrainingLog
from lit_inpaint.settings import Training

CLIPPED = Training(clip_generator=1.0, clip_discriminator=1.0, channels_last=False)


@pytest.mark.parametrize("order", ORDERS)
def test_a_batch_reads_nothing_but_the_flag_of_an_earlier_batch(order: str, tmp_path: Path) -> None:
    counter = CountInBatches(count_host_reads)
    callbacks = [counter, GeneratorEMA(0.9), TrainingLog(), NaNGuard(tmp_path, delay=2)]
    trainer = make_trainer(8, *callbacks, log_every_n_steps=50)
    trainer.fit(make_tiny(stages=(ORDERS[order][0],), training=CLIPPED), loader(make_batches(8)))
    assert counter.found == {"engine/delayed_max.py _read": 3}
