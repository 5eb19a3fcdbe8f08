"""Parse YAML and JSON, and check plain data from files: limits on size and nesting, and one-line errors.

A file of a few hundred bytes may stand for billions of values, as an anchor in YAML or a reference in a pickle repeats a part
without copying it. Code that walks through such data would not end, or exceeds Python's recursion limit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from lit_inpaint.errors import UserError
from lit_inpaint.storage.regular_file import read_regular_file

MAX_VALUES = 1_000_000
"""Maximum number of values, with each repetition counted."""
MAX_DEPTH = 40
"""Maximum depth of nested lists and dictionaries."""
MAX_YAML_BYTES = 2**20
"""Maximum size of a YAML file in bytes."""


class ExcessiveDataError(UserError):
    """Data stands for too many values, nests them too deeply, or contains itself."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """Loader that rejects duplicate keys; PyYAML keeps the last of them without a warning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build one mapping.

        Raises:
            UserError: a key stands twice.
        """
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, (key, _) in enumerate(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value in keys[:number] and key.value != "<<":
                mark = key.start_mark
                raise UserError(f"{mark.name}, line {mark.line + 1}: the key {key.value!r} stands twice; merge both into one")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file in UTF-8 or, with a byte order mark, UTF-16.

    Raises:
        UserError: the file cannot be read, or as `parse_yaml`.
    """
    try:
        content = read_regular_file(path, MAX_YAML_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return parse_yaml(content, str(path))


def parse_yaml(content: bytes | str, location: str) -> Any:
    """Parse YAML into plain data.

    Args:
        content: the text, or its bytes.
        location: the file's name in messages.

    Raises:
        UserError: the content is no YAML, has a key twice, stands for too many values, or nests them too deeply.
    """
    try:
        loader = _UniqueKeyLoader(content)
        loader.name = location
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, location, lambda item: item if isinstance(item, yaml.CollectionNode) else None, _nodes)
        return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        raise UserError(f"{location} is not UTF-8 text ({error.reason} at byte {error.position}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise UserError(f"{location} is not valid YAML: {error}") from error
    except RecursionError:
        raise UserError(f"{location} nests values too deeply; {MAX_DEPTH} levels are read") from None
    except (ValueError, TypeError, OverflowError, KeyError, IndexError) as error:  # PyYAML's numbers, dates and tags
        raise UserError(f"{location} is not valid YAML: {error}") from error


def parse_json(content: bytes | str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: the content is no JSON, or nests values too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None


def check_plain_data(content: object, location: str) -> None:
    """Check the size of plain data, such as that of a pickle.

    Args:
        content: nested dictionaries, lists and tuples; other objects count as one value each.
        location: the file's name in messages.

    Raises:
        UserError: there are too many values, or they are nested too deeply, or contain themselves.
    """
    _check_size(content, location, lambda item: item if isinstance(item, dict | list | tuple) else None, _items)


def _nodes(node: Any) -> Iterable[object]:
    if isinstance(node, yaml.MappingNode):
        return (part for pair in node.value for part in pair)
    return node.value  # type: ignore[no-any-return]


def _items(container: Any) -> Iterable[object]:
    return (*container, *container.values()) if isinstance(container, dict) else container


def _check_size(
    content: object, location: str, as_container: Callable[[object], object | None], parts: Callable[[Any], Iterable[object]]
) -> None:
    """Count values, each container once, multiply by its repetitions, and measure the depth."""
    sizes: dict[Hashable, tuple[int, int]] = {}  # by the container's id: number of values, depth

    def measure(item: object, above: tuple[int, ...]) -> tuple[int, int]:
        if as_container(item) is None:
            return 1, 0
        key = id(item)
        if key in above:
            raise ExcessiveDataError(f"{location} has a part that contains itself; write it without the reference to itself")
        if len(above) >= MAX_DEPTH:
            raise ExcessiveDataError(f"{location} nests values too deeply; {MAX_DEPTH} levels are read")
        if key not in sizes:
            inner = [measure(part, (*above, key)) for part in parts(item)]
            sizes[key] = 1 + sum(count for count, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        if sizes[key][0] > MAX_VALUES:
            raise ExcessiveDataError(f"{location} stands for more than {MAX_VALUES:,} values, as it repeats parts; write fewer")
        if len(above) + sizes[key][1] > MAX_DEPTH:
            raise ExcessiveDataError(f"{location} nests values too deeply; {MAX_DEPTH} levels are read")
        return sizes[key]

    measure(content, ())
