"""YAML with its mistakes named: a key that is said twice is one, and every complaint has its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class InvalidYaml(Exception):
    """What is wrong with a file, and on which line."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which by itself lets the last of two equal keys win."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise InvalidYaml(f"line {key.start_mark.line + 1}: {key.value!r} is said twice")
        seen.add(key.value)
    # Keys are names here, whatever YAML takes them for: 500 is a word.
    return {str(key.value): loader.construct_object(value, deep=True) for key, value in node.value}


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(file: Path) -> Any:
    """Return what the file says; an empty one says nothing. Raises InvalidYaml."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as problem:
        raise InvalidYaml(f"cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidYaml("is not UTF-8") from None
    try:
        return yaml.load(text, Loader=_Loader) or {}  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as problem:
        line = f"line {problem.problem_mark.line + 1}: " if problem.problem_mark else ""
        raise InvalidYaml(f"{line}{problem.problem or 'is not YAML'}") from None
    except yaml.YAMLError:
        raise InvalidYaml("is not YAML") from None
