"""Which samples a grid shows."""

from itertools import pairwise

import pytest

from lit_inpaint.drawing import spread


@pytest.mark.parametrize(("total", "count"), [(0, 8), (1, 8), (8, 8), (12, 4), (7, 3), (400, 8), (48, 8)])
def test_as_many_places_as_asked_for_evenly_and_once(total: int, count: int) -> None:
    places = spread(total, count)
    assert len(places) == len(set(places)) == min(count, total)
    assert all(0 <= place < total for place in places)
    if total > 40:
        assert max(b - a for a, b in pairwise(places)) <= 2 * total // count


def test_all_of_four_masks_show() -> None:
    assert {place % 4 for place in spread(400, 8)} == {0, 1, 2, 3}
