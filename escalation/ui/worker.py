"""The worker of one run: ``python -m escalation.ui.worker FOLDER``, started by :mod:`escalation.ui.runs`."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from escalation.ui import runs
from escalation.ui.workspace import write_whole

BETWEEN_REPORTS: Final = 0.25
"""Seconds between two reports of progress."""


class CancelledError(Exception):
    """Somebody asked for the run to stop."""


def work(folder: Path) -> None:
    """Do what the folder's request asks, once its turn has come, and leave the result and how it ended."""
    with runs.lock_held(folder / runs.LOCK) as mine:
        if not mine or (folder / runs.END).exists():
            return
        try:
            _wait_for_turn(folder)
            _run(json.loads((folder / runs.REQUEST).read_text(encoding="utf-8")), folder)
        except CancelledError:
            _end(folder, "cancelled")
        except Exception as error:
            from escalation.errors import EscalationError

            if isinstance(error, EscalationError):
                _end(folder, "refused", str(error))
            else:
                traceback.print_exc()  # into the run's log
                _end(folder, "failed", f"a defect stopped it ({type(error).__name__}); the run's log says more")
        else:
            _end(folder, "finished")


def _wait_for_turn(folder: Path) -> None:
    while runs.ahead(folder.name) >= runs.cores():
        _stop_if_asked(folder)
        time.sleep(0.2)
    _stop_if_asked(folder)


def _stop_if_asked(folder: Path) -> None:
    if (folder / runs.CANCEL).exists():
        raise CancelledError


def _reporter(folder: Path) -> Callable[[int, int], None]:
    began, last = time.time(), 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        _stop_if_asked(folder)
        if time.monotonic() - last >= BETWEEN_REPORTS or done == total:
            last = time.monotonic()
            write_whole(folder / runs.PROGRESS, json.dumps({"began": began, "done": done, "total": total}))

    return report


def _run(request: dict[str, Any], folder: Path) -> None:
    report = _reporter(folder)
    report(0, 0)
    from escalation.compare import compare
    from escalation.plain_data import parse
    from escalation.simulate import Simulation, simulate
    from escalation.stored import write_simulations
    from escalation.study import validate

    studies = [validate(parse(text, "study"), "study") for text in request["studies"]]
    asked = {name: request[name] for name in ("scenarios", "engine", "trials", "seed")}
    if len(studies) == 1:
        found: Sequence[Simulation] = [simulate(studies[0], **asked, progress=report)]
    else:
        found = compare(studies, **asked, progress=report).simulations
    write_simulations(folder / runs.RESULT, found)


def _end(folder: Path, status: runs.Status, message: str = "") -> None:
    write_whole(folder / runs.END, json.dumps({"status": status, "message": message, "ended": time.time()}))


if __name__ == "__main__":
    work(Path(sys.argv[1]))
