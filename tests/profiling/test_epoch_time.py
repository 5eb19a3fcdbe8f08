from lit_inpaint.profiling.epoch_time import Epoch, choose_epoch


def test_the_default_epoch_is_the_published_one() -> None:
    assert choose_epoch(None, None, None) == Epoch(80_000, 96, 40)
    assert choose_epoch(100, 32, 8).steps == 12
    assert Epoch(3, 32, 8).steps == 1
