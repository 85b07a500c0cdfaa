"""The API's rules as Flask itself lists them, so that no attack forgets a new endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from flask import Flask


@dataclass(frozen=True)
class Call:
    """One method of one rule."""

    method: str
    rule: str
    endpoint: str
    arguments: frozenset[str]

    def path(self, values: Mapping[str, str] | str = "x") -> str:
        """Return the rule's path with every argument filled in: with one value, or with each one's own."""
        filled = self.rule
        for name in self.arguments:
            value = quote(values if isinstance(values, str) else values[name], safe="")
            # With or without a converter, whose own arguments hold no angle bracket.
            filled = re.sub(rf"<(?:[^<>]*:)?{name}>", lambda _, value=value: value, filled)
        return filled

    def __str__(self) -> str:
        return f"{self.method} {self.rule}"


def calls(app: Flask) -> list[Call]:
    """Return every method of every rule, but for those that Flask adds by itself."""
    return [
        Call(method, rule.rule, rule.endpoint, frozenset(rule.arguments))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"})
    ]


def needs_sign_in(call: Call) -> bool:
    """Tell whether a call is of the API's own: everything under its path is."""
    return call.rule.startswith("/api/") and call.rule not in PUBLIC


# The only ones that may be added to without signing in: what describes the API.
PUBLIC = frozenset({"/api/openapi.json", "/api/docs"})
