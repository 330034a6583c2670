"""Text that is safe to hand on: no formulas for a spreadsheet, no characters that hide, files whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import pandas as pd

from escalation.errors import EscalationError

FORMULA_STARTS: Final = frozenset("=+-@\t\r\n＝＋－＠")
"""First characters at which a spreadsheet may calculate a cell instead of showing it."""

HIDING: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # direction of writing
    "\u200b\u2060\u2061\u2062\u2063\u2064\u180e\ufeff\ufffe\uffff"  # no width, no character
    "\u2028\u2029"  # line ends that not every program takes for one
)
"""Characters that make a text read differently from what it holds."""

LONGEST_CELL: Final = 32_000
"""Characters of an Excel cell, some hundred below what Excel can hold."""


class ExportError(EscalationError):
    """Something that cannot be handed on: entries of two trials, or a folder that is in use."""


def hides(character: str) -> bool:
    """Whether a character is a control character, or shows nothing or something else than it is."""
    if character in "\n\t":
        return False
    tag = 0xE0000 <= ord(character) <= 0xE007F
    return character in HIDING or tag or unicodedata.category(character) in ("Cc", "Cs", "Co")


def hostile(text: str) -> tuple[str, ...]:
    """The characters of a text that have no place in a record, by their code points.

    Examples
    --------
    >>> hostile("grade\\u202e 3"), hostile("Übelkeit")
    (('U+202E',), ())
    """
    found = [each for each in text if hides(each) or each in "\t\ufffd"]
    return tuple(dict.fromkeys(f"U+{ord(each):04X}" for each in found))


def shown(text: str) -> str:
    """A text in which every hiding character is written out; line ends become plain ones.

    Examples
    --------
    >>> shown("a\\u202eb\\x00")
    'a<U+202E>b<U+0000>'
    """
    plain = text if text[:1] == "\r" else text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(f"<U+{ord(each):04X}>" if hides(each) and each != "\r" else each for each in plain)


def neutral(value: Any, most: int | None = None) -> Any:
    """A cell's value with no formula in it: an apostrophe goes before a text that could be one; numbers stay numbers.

    Examples
    --------
    >>> neutral("=1+1"), neutral("  @SUM(A1)"), neutral(-1.5), neutral("grade 3")
    ("'=1+1", "'  @SUM(A1)", -1.5, 'grade 3')
    """
    if not isinstance(value, str):
        return None if value is None or value is pd.NA or value is pd.NaT else value
    text = shown(value)
    if text[:1] in FORMULA_STARTS or text.lstrip()[:1] in FORMULA_STARTS:
        text = f"'{text}"
    if most is not None and len(text) > most:
        text = f"{text[:most]} … (cut: {len(text)} characters, whole in the CSV)"
    return text


def neutralised(frame: pd.DataFrame, most: int | None = None) -> pd.DataFrame:
    """A copy of a frame for spreadsheets, every text neutralised."""
    columns = {str(name): [neutral(each, most) for each in frame[name]] for name in frame.columns}
    return pd.DataFrame(columns, columns=[str(name) for name in frame.columns], dtype=object)


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy of a long frame with the texts of its columns neutralised; numbers are left as they are."""
    changed = {name: frame[name].map(neutral) for name in frame.columns if frame[name].dtype.kind not in "iufb"}
    return frame.assign(**changed)


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV, every text quoted and neutralised, numbers bare, missing values empty."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    safe = neutralised(frame)
    writer.writerow(list(safe.columns))
    for row in safe.itertuples(index=False, name=None):
        writer.writerow(["" if _missing(each) else each for each in row])
    return out.getvalue()


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def refuse_existing(path: Path) -> None:
    """Raise ExportError for a file that exists: an export somebody relies on is not replaced."""
    if path.exists():
        raise ExportError(f"{path} exists; name a new file, so that no export replaces another")


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file that becomes ``path`` once everything is written; nothing remains on failure.

    A file that exists is refused: an export somebody relies on is not replaced.
    """
    target = Path(path)
    refuse_existing(target)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {error.strerror}; choose another place") from None
    os.close(handle)
    try:
        yield Path(name)
        _to_disk(Path(name))
        os.replace(name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


@contextmanager
def whole_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder that becomes ``folder`` once everything is written; one that holds files is refused."""
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(f"{target} exists and is not an empty folder; name a new one, so that no two exports mix")
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield made
        for file in made.iterdir():
            _to_disk(file)
        if target.exists():
            target.rmdir()
        os.replace(made, target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _to_disk(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def write_frames(folder: str | os.PathLike[str], frames: Mapping[str, pd.DataFrame], readme: str) -> tuple[Path, ...]:
    """Frames as CSV files (UTF-8 with byte-order mark) beside a README, in a new folder; the files written."""
    with whole_folder(folder) as made:
        made.joinpath("README.txt").write_text(shown(readme), encoding="utf-8", newline="\n")
        for name, frame in frames.items():
            made.joinpath(f"{name}.csv").write_text(csv_text(frame), encoding="utf-8-sig", newline="")
        names = ["README.txt", *(f"{name}.csv" for name in frames)]
    return tuple(Path(folder) / name for name in names)


def write_workbook(target: Path | BinaryIO, sheets: Mapping[str, pd.DataFrame]) -> None:
    """Frames as the sheets of one Excel workbook: every text neutralised, headers frozen, columns wide enough."""
    with pd.ExcelWriter(target, engine="openpyxl") as writer:
        for name, frame in sheets.items():
            safe = neutralised(frame, LONGEST_CELL)
            safe.to_excel(writer, sheet_name=name[:31], index=False)
            sheet = writer.sheets[name[:31]]
            sheet.freeze_panes = "A2"
            if name != "cover" and len(safe):
                sheet.auto_filter.ref = sheet.dimensions
            for number, column in enumerate(safe.columns):
                longest = max([len(column), *(len(str(each)) for each in safe.iloc[:50, number])])
                sheet.column_dimensions[sheet.cell(1, number + 1).column_letter].width = min(longest + 2, 60)
