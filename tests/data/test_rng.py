import pytest
import torch

from lit_inpaint.data.rng import RngStream, generator


def _draw(*key: int) -> float:
    return float(torch.rand((), generator=generator(*key)))


def test_a_key_always_gives_the_same_draws() -> None:
    assert _draw(0, RngStream.TRAIN_MASK, 7) == _draw(0, 2, 7)
    assert generator(1, 2, 3).initial_seed() == 18001877160497339420


def test_different_keys_give_different_draws() -> None:
    keys = [(), (0,), (0, 0), (1,), (1, 0), (0, 1), (1, 2), (1, 2, 0), (2, 1), (1 + 2 * 2**32,), (2**32,), (2**64 - 1,)]
    assert len({_draw(*key) for key in keys}) == len(keys)


@pytest.mark.parametrize("part", [-1, 2**64])
def test_integers_out_of_range_are_refused(part: int) -> None:
    with pytest.raises(ValueError, match="got"):
        generator(0, part)
