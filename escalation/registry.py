"""The designs that are installed, found through the entry-point group ``escalation.designs``.

The package never imports ``designs`` by name: third parties add theirs the same way.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from escalation.design import Design
from escalation.errors import DesignError

GROUP = "escalation.designs"


@cache
def _points() -> dict[str, Any]:
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def design_names() -> tuple[str, ...]:
    """Names of the registered designs, in alphabetical order."""
    return tuple(_points())


@cache
def design_class(name: str) -> type[Design[Any]]:
    """The design registered under a name; raises DesignError naming the nearest registered one."""
    point = _points().get(name)
    if point is None:
        near = difflib.get_close_matches(name, design_names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DesignError(
            "protocol.design.name",
            f"no design is registered as {name!r}",
            f"{hint}registered: {', '.join(design_names()) or 'none'}",
        )
    loaded: type[Design[Any]] = point.load()
    return loaded
