"""JSON that people read: what fits on a line stands on one."""

from __future__ import annotations

import json
from typing import Any

WIDTH = 120
MANY = 8
"""A few items stand one on each line, more than these side by side."""


def json_text(value: Any) -> str:
    r"""`value` as JSON with a line break at its end, objects and lists on one line where they fit on it.

    >>> print(json_text({"a": [1, 2], "b": {"c": "d"}}), end="")
    {
        "a": [1, 2],
        "b": {"c": "d"}
    }
    """
    return _expanded(value, "") + "\n"


def _text(value: Any, indent: str, taken: int) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or taken + len(line) < WIDTH:
        return line
    return _expanded(value, indent)


def _expanded(value: Any, indent: str) -> str:
    inner = indent + " " * 4
    if isinstance(value, dict):
        names = [json.dumps(str(key), ensure_ascii=False) + ": " for key in value]
        items = [n + _text(v, inner, len(inner) + len(n)) for n, v in zip(names, value.values(), strict=True)]
    else:
        items = [_text(v, inner, len(inner)) for v in value]
    if indent and len(items) > MANY and not any("\n" in item for item in items):
        items = _filled(items, inner)
    left, right = "{}" if isinstance(value, dict) else "[]"
    return left + "\n" + inner + f",\n{inner}".join(items) + f"\n{indent}{right}"


def _filled(items: list[str], indent: str) -> list[str]:
    """As many items on a line as fit on it."""
    lines = [items[0]]
    for item in items[1:]:
        if len(indent) + len(lines[-1]) + len(item) + 3 <= WIDTH:
            lines[-1] += ", " + item
        else:
            lines.append(item)
    return lines
