"""Simulations in a file: the trials as they were simulated, from which the same numbers follow again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from escalation import __version__
from escalation.errors import EngineError
from escalation.results import Calendar, TrialRows
from escalation.simulate import Simulation, judged
from escalation.study import Study, validate

_FORMAT: Final = 1
_ROWS: Final = tuple(each.name for each in fields(TrialRows) if each.name not in ("trials", "calendar"))
_CLOCK: Final = tuple(each.name for each in fields(Calendar))


def write_simulations(path: Path, simulations: Sequence[Simulation]) -> None:
    """Write simulations to one file, whole or not at all: trials as arrays, the rest as JSON beside them."""
    arrays: dict[str, Any] = {}
    about = []
    for number, simulation in enumerate(simulations):
        about.append(
            {
                "study": simulation.study.as_dict(),
                "engine": simulation.engine,
                "trials": simulation.trials,
                "seed": simulation.seed,
                "notes": simulation.notes,
                "states": simulation.states,
                "scenarios": [result.name for result in simulation.scenarios],
            }
        )
        for place, result in enumerate(simulation.scenarios):
            clock = result.rows.calendar
            there = (name for name in _ROWS if getattr(result.rows, name) is not None)
            arrays |= {f"{number}.{place}.{name}": getattr(result.rows, name) for name in there}
            if clock is not None:
                arrays |= {f"{number}.{place}.clock.{name}": getattr(clock, name) for name in _CLOCK}
    text = json.dumps({"format": _FORMAT, "version": __version__, "simulations": about}, ensure_ascii=False)
    arrays["about"] = np.frombuffer(text.encode(), dtype=np.uint8)
    part = path.with_name(f".part-{path.name}")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_simulations(path: Path) -> tuple[Simulation, ...]:
    """The simulations of a file; raises EngineError when another version made it or it cannot be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            about = json.loads(held["about"].tobytes().decode())
            if about.get("format") != _FORMAT or about.get("version") != __version__:
                raise EngineError(
                    f"this result was made by escalation {about.get('version')}, and this is {__version__}; "
                    "run it again, so that numbers and version belong together"
                )
            return tuple(_simulation(held, number, each) for number, each in enumerate(about["simulations"]))
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise EngineError(f"the result cannot be read ({error}); run it again") from None


def _simulation(held: Mapping[str, Any], number: int, about: dict[str, Any]) -> Simulation:
    study: Study = validate(about["study"])
    results = []
    for place, name in enumerate(about["scenarios"]):
        columns = {each: held[key] for each in _ROWS if (key := f"{number}.{place}.{each}") in held}
        ticked = {each: held[f"{number}.{place}.clock.{each}"] for each in _CLOCK} if _clocked(held, number) else None
        rows = TrialRows(**columns, trials=about["trials"], calendar=None if ticked is None else Calendar(**ticked))
        results.append(judged(study, study.scenario(name), rows, about["seed"] or 0))
    return Simulation(
        study, about["engine"], about["trials"], about["seed"], tuple(results), tuple(about["notes"]), about["states"]
    )


def _clocked(held: Mapping[str, Any], number: int) -> bool:
    return f"{number}.0.clock.{_CLOCK[0]}" in held
