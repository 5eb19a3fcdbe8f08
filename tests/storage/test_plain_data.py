"""YAML, JSON and data of pickles that stand for more than they hold, or that no reader expects."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lit_inpaint.errors import UserError
from lit_inpaint.storage.plain_data import MAX_DEPTH, check_plain_data, parse_json, parse_yaml, read_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join(['*' + chr(97 + n)] * 9)}]}}\n" for n in range(9)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (LAUGHS, "stands for more than 1,000,000 values"),
        (MERGES, "stands for more than 1,000,000 values"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: *a}", "contains itself"),
        ("[" * 5000, "nests values too deeply"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nests values too deeply"),
        ("seed: " + "9" * 6000, "is not valid YAML: Exceeds the limit"),
        ("seed: 2001-99-99", "is not valid YAML: month must be in 1..12"),
        ("seed: !!int x", "is not valid YAML: invalid literal"),
        ("seed: !!python/object/apply:os.system [ls]", "is not valid YAML: could not determine a constructor"),
        ("seed: 1\nseed: 2", "line 2: the key 'seed' stands twice"),
    ],
)
def test_a_hostile_yaml_is_one_error_at_once(text: str, problem: str) -> None:
    start = time.process_time()
    with pytest.raises(UserError, match=f"^a.yaml.*{problem}"):
        parse_yaml(text, "a.yaml")
    assert time.process_time() - start < 5


def test_anchors_and_levels_within_the_limits_are_read() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: [*a, *a]\nc: &c {d: *a}\ne: {<<: *c, f: 1}", "a.yaml") == {
        "a": [1, 2],
        "b": [[1, 2], [1, 2]],
        "c": {"d": [1, 2]},
        "e": {"d": [1, 2], "f": 1},
    }
    depth = MAX_DEPTH - 1
    assert parse_yaml("[" * depth + "]" * depth, "a.yaml")
    assert parse_yaml("", "a.yaml") is None


def test_a_yaml_that_is_a_device_or_large_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^cannot read /dev/zero: not a regular file$"):
        read_yaml(Path("/dev/zero"))
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"large.yaml: 1,099,511,627,776 bytes, more than 1,048,576$"):
        read_yaml(large)


def test_json_that_is_nested_too_deeply_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="too deeply"):
        parse_json("[" * 100_000)
    assert parse_json(json.dumps({"a": [1]})) == {"a": [1]}


def test_data_of_a_pickle_may_repeat_its_parts_a_million_times_and_no_more() -> None:
    part: Any = [0] * 10
    for _ in range(8):
        part = {"a": part, "b": [part] * 9}
    with pytest.raises(UserError, match=r"^x.ckpt stands for more than 1,000,000 values"):
        check_plain_data(part, "x.ckpt")
    part["a"]["a"] = part
    with pytest.raises(UserError, match=r"^x.ckpt (has a part that contains itself|stands for more)"):
        check_plain_data(part, "x.ckpt")
    check_plain_data({"state_dict": dict.fromkeys(map(str, range(1000)), 1.0), "a": (1, [2, {3: 4}])}, "x.ckpt")
