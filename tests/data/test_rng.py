import pytest
import torch

from lit_inpaint.data.rng import RngStream, generator


def _draw(*key: int) -> float:
    return float(torch.rand((), generator=generator(*key)))


def test_a_key_gives_the_same_draws_for_ever() -> None:
    assert _draw(0, RngStream.TRAIN_MASK, 7) == _draw(0, 2, 7)
    assert generator(1, 2, 3).initial_seed() == 18001877160497339420


def test_keys_that_differ_anywhere_differ_in_their_draws() -> None:
    keys = [(), (0,), (0, 0), (1,), (1, 0), (0, 1), (1, 2), (1, 2, 0), (2, 1), (1 + 2 * 2**32,), (2**32,), (2**64 - 1,)]
    assert len({_draw(*key) for key in keys}) == len(keys)


@pytest.mark.parametrize("part", [-1, 2**64])
def test_integers_are_never_cut(part: int) -> None:
    with pytest.raises(ValueError, match="got"):
        generator(0, part)
