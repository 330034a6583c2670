"""A decision table as text: read, and checked for completeness and order."""

from __future__ import annotations

import csv
from functools import lru_cache
from itertools import pairwise

from designs.boundaries import DE_ESCALATE, ESCALATE, STAY

ELIMINATE = 3
"""De-escalate and never come back: the strictest entry of a table."""

MOST_EVALUABLE = 500
"""Largest number evaluable a table may have a column for."""

_MOVES = {"E": ESCALATE, "S": STAY, "D": DE_ESCALATE, "DU": ELIMINATE}
_EMPTY = {"", "-", "NA", "."}

Columns = dict[int, tuple[int, ...]]
"""For every number evaluable, the decisions at 0, 1, ... DLTs."""


@lru_cache(maxsize=32)
def read_columns(text: str) -> Columns:
    """The columns of a decision table, in order of the number evaluable.

    Separated by commas, semicolons or tabs. The first row holds the numbers evaluable, the first
    column the numbers of DLTs.

    Raises
    ------
    ValueError
        With every fault of the first kind met: unreadable cells, then missing ones, then decisions out of order.

    Examples
    --------
    >>> read_columns("DLTs,1,2\\n0,E,E\\n1,D,S\\n2,,DU")
    {1: (0, 2), 2: (0, 1, 3)}
    >>> read_columns("DLTs,1,2\\n0,E,E\\n1,D,E\\n2,,S")
    Traceback (most recent call last):
    ...
    ValueError: one more participant with a DLT may not make the decision milder: row 2, column 2 is S after row 1, ...
    """
    cells, sizes = _cells(text)
    _raise(_missing(cells, sizes))
    columns = {n: tuple(cells[dlt, n] for dlt in range(n + 1)) for n in sizes}
    _raise(_out_of_order(columns))
    return columns


def _raise(faults: list[str]) -> None:
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ValueError("; ".join(faults[:5]) + more)


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _cells(text: str) -> tuple[dict[tuple[int, int], int], list[int]]:
    """The filled cells by (DLTs, evaluable), and the numbers evaluable of the header."""
    lines = [line for line in text.replace("\ufeff", "").splitlines() if line.strip(" ,;\t")]
    if not lines:
        raise ValueError("the decision table is empty: give a header with the numbers evaluable and a row for 0 DLTs")
    separator = max(",;\t", key=lines[0].count)
    try:
        header, *rows = ([cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator))
    except csv.Error as error:
        raise ValueError(f"the decision table cannot be read as comma-separated text: {error}") from None
    if len(lines) == 1:
        raise ValueError(
            f"the decision table is a single line, {lines[0][:40]!r}: write the table itself, or the name of a CSV "
            "file in a study that is read from a file"
        )
    while header and not header[-1]:
        header.pop()
    sizes = [_whole(cell) for cell in header[1:]]
    faults = [
        f"header, column {position}: {cell!r} is not a number evaluable from 1 to {MOST_EVALUABLE}"
        for position, (cell, size) in enumerate(zip(header[1:], sizes, strict=True), 2)
        if size is None or not 1 <= size <= MOST_EVALUABLE
    ]
    _raise(faults if faults or sizes else ["the header names no number evaluable: write for example DLTs,1,2,3"])
    columns = [size for size in sizes if size is not None]
    step = columns[0]
    expected = [step * (position + 1) for position in range(len(columns))]
    if columns != expected:
        wrong = next(position for position, (a, b) in enumerate(zip(columns, expected, strict=True)) if a != b)
        raise ValueError(
            f"header, column {wrong + 2}: {columns[wrong]} evaluable where {expected[wrong]} is due; "
            f"give every number from 1 on, or every multiple of the cohort size"
        )
    cells: dict[tuple[int, int], int] = {}
    for position, row in enumerate(rows):
        dlt = _whole(row[0])
        if dlt != position:
            faults.append(f"row {position}: it begins with {row[0]!r}; rows are 0, 1, 2, ... DLTs in order")
            continue
        for n, cell in zip(columns, row[1:], strict=False):
            move = _MOVES.get(cell.upper())
            if cell.upper() in _EMPTY:
                continue
            if move is None:
                faults.append(f"row {dlt}, column {n}: {cell!r} is none of E, S, D, DU")
            elif dlt > n:
                faults.append(f"row {dlt}, column {n}: {cell!r} for more DLTs than participants; leave it empty")
            else:
                cells[dlt, n] = move
        if any(row[len(columns) + 1 :]):
            faults.append(f"row {dlt}: it has more cells than the header has columns")
    _raise(faults)
    return cells, columns


def _missing(cells: dict[tuple[int, int], int], sizes: list[int]) -> list[str]:
    return [
        f"row {dlt}, column {n}: no decision for {dlt} DLTs among {n}"
        for n in sizes
        for dlt in range(n + 1)
        if (dlt, n) not in cells
    ]


def _out_of_order(columns: Columns) -> list[str]:
    """Where a decision is milder than one for data that are no more toxic.

    Whether a level is also eliminated may depend on the number evaluable, so between columns D and DU are one.
    """
    words = {move: word for word, move in _MOVES.items()}
    found = [
        f"more DLTs among as many may not make the decision milder: row {dlt}, column {n} is "
        f"{words[cells[dlt]]} after {words[cells[dlt - 1]]} in row {dlt - 1}"
        for n, cells in columns.items()
        for dlt in range(1, n + 1)
        if cells[dlt] < cells[dlt - 1]
    ]
    for (fewer, left), (more, right) in pairwise(columns.items()):
        for dlt, before in enumerate(left):
            if min(right[dlt], DE_ESCALATE) > min(before, DE_ESCALATE):
                found.append(
                    f"as many DLTs among more participants may not make the decision stricter: row {dlt}, column "
                    f"{more} is {words[right[dlt]]} and column {fewer} is {words[before]}"
                )
            worse = dlt + more - fewer
            if min(right[worse], DE_ESCALATE) < min(before, DE_ESCALATE):
                who = "one more participant" if more - fewer == 1 else f"{more - fewer} more participants"
                found.append(
                    f"{who} with a DLT may not make the decision milder: row {worse}, column {more} is "
                    f"{words[right[worse]]} after row {dlt}, column {fewer} {words[before]}"
                )
    return found
