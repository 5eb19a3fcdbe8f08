from itertools import islice

import pytest

from lit_inpaint.data.samplers import EvalSampler, InfiniteSampler, Key


def _batches(sampler: InfiniteSampler, number: int) -> list[list[Key]]:
    keys = iter(sampler)
    return [list(islice(keys, sampler.batch_size)) for _ in range(number)]


def _stream(count: int = 10, size: int = 4, rank: int = 0, world: int = 1, start: int = 0, seed: int = 0) -> InfiniteSampler:
    return InfiniteSampler(count, size, rank, world, seed, position=lambda: start)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_each_pass_is_a_permutation_and_nothing_is_dropped(count: int) -> None:
    keys = list(islice(_stream(count), count * 6))
    assert [j for _, j in keys] == list(range(count * 6))
    passes = [[index for index, _ in keys[e * count : (e + 1) * count]] for e in range(6)]
    assert all(sorted(each) == list(range(count)) for each in passes)
    assert count < 10 or len({tuple(each) for each in passes}) == 6


def test_another_seed_is_another_order() -> None:
    assert _batches(_stream(), 3) == _batches(_stream(), 3) != _batches(_stream(seed=1), 3)


@pytest.mark.parametrize("start", [1, 2, 3, 17])
def test_resuming_at_a_batch_gives_the_tail(start: int) -> None:
    assert _batches(_stream(start=start), 5) == _batches(_stream(), start + 5)[start:]


def test_the_position_is_asked_whenever_an_iterator_is_made() -> None:
    steps = 0
    sampler = InfiniteSampler(10, 4, 0, 1, 0, position=lambda: steps)
    whole = _batches(sampler, 6)
    steps = 4
    assert _batches(sampler, 2) == whole[4:]


@pytest.mark.parametrize("count", [3, 10])
def test_two_processes_see_what_one_sees_with_the_joined_batch(count: int) -> None:
    left, right = (_batches(_stream(count, 3, rank, world=2), 7) for rank in (0, 1))
    assert [[*a, *b] for a, b in zip(left, right, strict=True)] == _batches(_stream(count, 6), 7)


@pytest.mark.parametrize(
    ("count", "world", "repeat", "batches"), [(10, 1, 1, 2), (10, 2, 1, 1), (3, 1, 1, 1), (7, 1, 200, 350)]
)
def test_length_is_whole_batches_of_the_repeated_set(count: int, world: int, repeat: int, batches: int) -> None:
    assert len(InfiniteSampler(count, 4, 0, world, 0, lambda: 0, repeat)) == batches * 4


@pytest.mark.parametrize(("count", "world"), [(7, 1), (7, 2), (8, 3), (2, 4)])
def test_evaluation_shows_each_sample_once_over_all_ranks(count: int, world: int) -> None:
    samplers = [EvalSampler(count, rank, world) for rank in range(world)]
    assert sorted(i for sampler in samplers for i in sampler) == list(range(count))
    assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers]


@pytest.mark.parametrize(("count", "rank", "world"), [(0, 0, 1), (5, 2, 2), (5, -1, 2)])
def test_impossible_ranks_and_empty_sets_are_refused(count: int, rank: int, world: int) -> None:
    with pytest.raises(ValueError, match=f"count {count}, rank {rank} of {world}"):
        EvalSampler(count, rank, world)


def test_images_may_give_several_samples_in_a_row() -> None:
    thrice = InfiniteSampler(5, 4, 0, 1, 0, position=lambda: 0, in_a_row=3)
    keys = list(islice(iter(thrice), 45))
    assert [j for _, j in keys] == list(range(45))
    turns = [index for index, _ in islice(iter(InfiniteSampler(5, 5, 0, 1, 0, position=lambda: 0)), 15)]
    assert [index for index, _ in keys] == [index for index in turns for _ in range(3)]
    assert len(thrice) == 5 * 3 // 4 * 4
