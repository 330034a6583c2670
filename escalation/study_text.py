"""Study texts changed value by value: comments, order and layout of everything else stay as they were.

Forms edit a study through this, so that a file can be saved again and compared line by line. A text nobody
changed is never rewritten.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import FoldedScalarString

from escalation.plain_data import parse, set_by_hand

Step = str | int
Path = tuple[Step, ...]
"""Keys and positions that lead to a value."""

_INDENTED: Final = (4, 2)
_AT_THE_MARGIN: Final = (2, 0)
"""Layouts of lists: columns from the key above to the entry and to its dash."""
_MARGIN: Final = re.compile(r"^( *)[^\s#-][^\n]*:[ ]*(?:#[^\n]*)?\n(?:[ ]*(?:#[^\n]*)?\n)*\1- ", re.MULTILINE)
_LINE: Final = 110
"""Columns of a folded text."""


class _Representer(RoundTripRepresenter):  # type: ignore[misc,unused-ignore]
    """Writes null as a word."""


_Representer.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def _yaml(layout: tuple[int, int]) -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 1_000_000
    yaml.indent(mapping=2, sequence=layout[0], offset=layout[1])
    return yaml


class StudyText:
    """A study's text, open for changes.

    Every change of a value marks its provenance as set by hand, as ``--set`` on the command line does;
    changes of the provenance itself do not.

    Parameters
    ----------
    text
        A study text; raises StudyError where it is not YAML.
    """

    def __init__(self, text: str) -> None:
        self._before = text
        self._layout = _AT_THE_MARGIN if _MARGIN.search(text) else _INDENTED
        try:
            self.data: Any = _yaml(self._layout).load(text)
        except (YAMLError, ValueError):
            parse(text)  # says what is wrong
            raise
        self._touched = False

    def get(self, path: Path, default: Any = None) -> Any:
        """The value at a path."""
        here = self.data
        for step in path:
            try:
                here = here[step]
            except (KeyError, IndexError, TypeError):
                return default
        return here

    def set(self, path: Path, value: Any) -> None:
        """Put a value at a path; mappings on the way are made where they are missing."""
        parent = self._parent(path)
        last = path[-1]
        old = parent[last] if self._holds(parent, last) else None
        after = _trailing(old)
        parent[last] = _styled(value)
        if after and isinstance(parent, CommentedMap):
            parent.ca.items[last] = [None, None, after, None]
        self._mark(path)

    def remove(self, path: Path) -> None:
        """Take out a key or an entry; nothing happens where there is none."""
        parent = self.get(path[:-1])
        if self._holds(parent, path[-1]):
            self._mark(path)
            del parent[path[-1]]
            self._touched = True

    def insert(self, path: Path, position: int, value: Any) -> None:
        """Put an entry into the list at a path, which is made where it is missing."""
        listed = self.get(path)
        if not isinstance(listed, CommentedSeq):
            self.set(path, [])
            listed = self.get(path)
        if not listed:  # an empty list is written [], what it now holds may need lines of its own
            listed.fa.set_block_style()
        listed.insert(position, _styled(value))
        self._mark(path)

    def copied(self, path: Path) -> Any:
        """A copy of the value at a path, with its layout."""
        return deepcopy(self.get(path))

    def text(self) -> str:
        """The text with the changes."""
        if not self._touched:
            return self._before
        written = _dumped(self.data, self._layout)
        if parse(written) != _plain(self.data):  # what the layout cannot carry is written plainly
            written = _dumped(_styled(_plain(self.data)), self._layout)
        return written

    def _parent(self, path: Path) -> Any:
        here = self.data
        for step in path[:-1]:
            if not self._holds(here, step) or not isinstance(here[step], Mapping | list):
                here[step] = CommentedMap()
            here = here[step]
        return here

    @staticmethod
    def _holds(parent: Any, step: Step) -> bool:
        if isinstance(parent, Mapping):
            return step in parent
        return isinstance(parent, list) and isinstance(step, int) and 0 <= step < len(parent)

    def _mark(self, path: Path) -> None:
        self._touched = True
        if path[0] == "sources":
            return
        written = ".".join(str(step) for step in path)
        named = ".".join(self._named(path))
        for each in dict.fromkeys((written, named)):
            set_by_hand(self.data, each)

    def _named(self, path: Path) -> list[str]:
        """The path with the names of list entries, as ``sources`` writes it."""
        here, steps = self.data, []
        for step in path:
            here = here[step] if self._holds(here, step) else None
            noted = here if isinstance(here, Mapping) and isinstance(step, int) else {}
            name = noted.get("name") or noted.get("guard")
            steps.append(str(name or step))
        return steps


def _dumped(data: Any, layout: tuple[int, int]) -> str:
    out = io.StringIO()
    _yaml(layout).dump(data, out)
    return out.getvalue()


def _plain(value: Any) -> Any:
    """The value without layout."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _styled(value: Any) -> Any:
    """A new value as people write it: short lists and mappings on one line, long texts folded."""
    if isinstance(value, CommentedMap | CommentedSeq):
        return value
    if isinstance(value, Mapping):
        mapping = CommentedMap((key, _styled(each)) for key, each in value.items())
        if all(_short(each) for each in mapping.values()):
            mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list | tuple):
        listed = CommentedSeq(_styled(each) for each in value)
        if all(_short(each) for each in listed) and not any(isinstance(each, Mapping) for each in listed):
            listed.fa.set_flow_style()
        return listed
    if isinstance(value, str) and len(value) > _LINE and "\n" not in value:
        return _folded(value)
    return value


def _short(value: Any) -> bool:
    """Whether a value fits into a line with others."""
    if isinstance(value, CommentedMap | CommentedSeq):
        return bool(value.fa.flow_style())
    return not (isinstance(value, str) and (len(value) > _LINE / 2 or "\n" in value))


def _folded(text: str) -> Any:
    folded = FoldedScalarString(text)
    lines = textwrap.wrap(text, _LINE, break_long_words=False, break_on_hyphens=False)
    places, at = [], 0
    for line in lines[:-1]:
        at = text.find(line, at) + len(line)
        places.append(at)
    folded.fold_pos = places  # type: ignore[attr-defined,unused-ignore]
    return folded


def _trailing(value: Any) -> Any:
    """The comment that stands after the last line of a value, which a replacement would take with it."""
    while isinstance(value, CommentedMap | CommentedSeq) and len(value) and not value.fa.flow_style():
        last = list(value)[-1] if isinstance(value, CommentedMap) else len(value) - 1
        noted: Sequence[Any] | None = value.ca.items.get(last)
        if noted:
            token = noted[2] if isinstance(value, CommentedMap) else noted[0]
            if token is not None:
                return token
        value = value[last]
    return None
