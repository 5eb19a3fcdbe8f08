from itertools import islice

import pytest

from lit_inpaint.data.samplers import EvalSampler, InfiniteSampler, TrainKey


def _batches(sampler: InfiniteSampler, number: int) -> list[list[TrainKey]]:
    keys = iter(sampler)
    return [list(islice(keys, sampler.batch_size)) for _ in range(number)]


def _stream(
    count: int = 10, size: int = 4, rank: int = 0, world_size: int = 1, start: int = 0, seed: int = 0
) -> InfiniteSampler:
    return InfiniteSampler(count, size, rank, world_size, seed, start_batch=lambda: start)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_each_epoch_is_a_permutation_and_nothing_is_dropped(count: int) -> None:
    keys = list(islice(_stream(count), count * 6))
    assert [j for _, j in keys] == list(range(count * 6))
    epochs = [[index for index, _ in keys[e * count : (e + 1) * count]] for e in range(6)]
    assert all(sorted(each) == list(range(count)) for each in epochs)
    assert count < 10 or len({tuple(each) for each in epochs}) == 6


def test_another_seed_gives_another_order() -> None:
    assert _batches(_stream(), 3) == _batches(_stream(), 3) != _batches(_stream(seed=1), 3)


@pytest.mark.parametrize("start", [1, 2, 3, 17])
def test_resuming_at_a_batch_gives_the_remaining_stream(start: int) -> None:
    assert _batches(_stream(start=start), 5) == _batches(_stream(), start + 5)[start:]


def test_start_batch_is_called_for_each_new_iterator() -> None:
    steps = 0
    sampler = InfiniteSampler(10, 4, 0, 1, 0, start_batch=lambda: steps)
    whole = _batches(sampler, 6)
    steps = 4
    assert _batches(sampler, 2) == whole[4:]


@pytest.mark.parametrize("count", [3, 10])
def test_two_processes_see_the_samples_of_one_with_the_joined_batch(count: int) -> None:
    left, right = (_batches(_stream(count, 3, rank, world_size=2), 7) for rank in (0, 1))
    assert [[*a, *b] for a, b in zip(left, right, strict=True)] == _batches(_stream(count, 6), 7)


@pytest.mark.parametrize(
    ("count", "world_size", "repeat", "batches"), [(10, 1, 1, 2), (10, 2, 1, 1), (3, 1, 1, 1), (7, 1, 200, 350)]
)
def test_length_counts_whole_batches_of_the_repeated_set(count: int, world_size: int, repeat: int, batches: int) -> None:
    assert len(InfiniteSampler(count, 4, 0, world_size, 0, lambda: 0, repeat)) == batches * 4


@pytest.mark.parametrize(("count", "world_size"), [(7, 1), (7, 2), (8, 3), (2, 4)])
def test_evaluation_yields_each_sample_once_over_all_ranks(count: int, world_size: int) -> None:
    samplers = [EvalSampler(count, rank, world_size) for rank in range(world_size)]
    assert sorted(i for sampler in samplers for i in sampler) == list(range(count))
    assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers]


@pytest.mark.parametrize(("count", "rank", "world_size"), [(0, 0, 1), (5, 2, 2), (5, -1, 2)])
def test_invalid_ranks_and_empty_sets_are_refused(count: int, rank: int, world_size: int) -> None:
    with pytest.raises(ValueError, match=f"count {count}, rank {rank} of {world_size}"):
        EvalSampler(count, rank, world_size)


def test_samples_per_image_repeats_each_image() -> None:
    thrice = InfiniteSampler(5, 4, 0, 1, 0, start_batch=lambda: 0, samples_per_image=3)
    keys = list(islice(iter(thrice), 45))
    assert [j for _, j in keys] == list(range(45))
    visits = [index for index, _ in islice(iter(InfiniteSampler(5, 5, 0, 1, 0, start_batch=lambda: 0)), 15)]
    assert [index for index, _ in keys] == [index for index in visits for _ in range(3)]
    assert len(thrice) == 5 * 3 // 4 * 4
