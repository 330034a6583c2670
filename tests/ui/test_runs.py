"""Runs outlive pages: started, watched, cancelled, queued; what died is told from what is slow."""

from __future__ import annotations

import json
import os
import signal
import time

import numpy as np
import pytest

from escalation.simulate import simulate
from escalation.stored import read_simulations, write_simulations
from escalation.study import load, read_text
from escalation.ui import runs, worker

TEXT = read_text("textbook-frequency")[0]
LONG = 200_000
"""Calendar trials that outlast any of these tests."""


pytestmark = pytest.mark.usefixtures("place")


def asked(**changed) -> dict:
    request = {"studies": [TEXT], "scenarios": [], "engine": "calendar", "trials": 40, "seed": 3}
    return request | changed


def until(key: str, *statuses: str, seconds: float = 40) -> runs.Run:
    """The run once it has one of the statuses."""
    for _ in range(int(seconds / 0.05)):
        run = runs.look(key)
        if run.status in statuses:
            return run
        assert run.open, (run, (runs.runs_folder() / key / "log.txt").read_text())
        time.sleep(0.05)
    raise AssertionError(f"still {run.status}")


def test_a_run_gives_the_numbers_of_the_engine():
    key = runs.start(asked())
    run = until(key, "finished")
    assert (run.done, run.total) == (40 * len(load("textbook-frequency").scenarios),) * 2
    found = read_simulations(run.result)[0]
    expected = simulate(load("textbook-frequency"), engine="calendar", trials=40, seed=3)
    assert found.study.hash == expected.study.hash
    for ours, theirs in zip(found.scenarios, expected.scenarios, strict=True):
        assert ours.characteristics.measures == theirs.characteristics.measures
        assert ours.characteristics.duration_days == theirs.characteristics.duration_days
        np.testing.assert_array_equal(ours.rows.n, theirs.rows.n)


def test_an_exact_run_comes_back_exact(tmp_path):
    simulation = simulate(load("textbook-5-doses"))
    write_simulations(tmp_path / "kept.npz", [simulation])
    found = read_simulations(tmp_path / "kept.npz")[0]
    assert found.engine == "exact"
    assert found.states == simulation.states
    assert found.scenarios[0].characteristics.measures == simulation.scenarios[0].characteristics.measures


def test_a_result_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    simulation = simulate(load("textbook-5-doses"))

    def breaks_off(file, **arrays):
        file.write(b"half a result")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez_compressed", breaks_off)
    with pytest.raises(OSError, match="no space"):
        write_simulations(tmp_path / "kept.npz", [simulation])
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_and_a_cancelled_run_leaves_no_result():
    key = runs.start(asked(trials=LONG))
    until(key, "running")
    for _ in range(400):
        if runs.look(key).done:
            break
        time.sleep(0.05)
    seen = runs.look(key)
    assert 0 < seen.done < seen.total
    runs.cancel(key)
    run = until(key, "cancelled")
    assert not run.result.exists()
    runs.cancel(key)
    assert runs.look(key).status == "cancelled"


def test_a_worker_that_dies_is_told_from_one_that_is_slow():
    key = runs.start(asked(trials=LONG))
    until(key, "running")
    process = runs._started[key]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run = runs.look(key)
    assert run.status == "stopped"
    assert "same seed" in run.message
    assert not run.result.exists()


def test_after_a_restart_of_the_server_a_run_is_found_as_it_is():
    ended, going = runs.start(asked()), runs.start(asked(trials=LONG))
    until(ended, "finished")
    until(going, "running")
    known = dict(runs._started)
    runs._started.clear()  # a new server knows no process
    assert runs.look(ended).status == "finished"
    assert runs.look(going).status == "running"
    known[going].kill()
    for process in known.values():
        process.wait()
    assert runs.look(going).status == "stopped"


def test_two_runs_work_at_once_and_the_next_waits_for_its_turn(monkeypatch):
    monkeypatch.setattr(runs, "cores", lambda: 1)
    first = runs.start(asked(trials=LONG))
    until(first, "running")
    second = runs.start(asked(trials=LONG))
    assert runs.look(second).ahead == 1
    assert runs.ahead(second) >= runs.cores(), "the worker of the second would wait"
    runs.cancel(first)
    until(first, "cancelled")
    assert runs.ahead(second) == 0
    until(second, "running")


def test_a_worker_waits_while_others_are_ahead_and_can_be_cancelled_meanwhile(place, monkeypatch):
    waiting = iter([2, 2, 0])
    monkeypatch.setattr(runs, "ahead", lambda _: next(waiting))
    monkeypatch.setattr(runs, "cores", lambda: 1)
    folder = place / "run"
    folder.mkdir()
    (folder / runs.REQUEST).write_text(json.dumps(asked(trials=10)))
    worker.work(folder)
    assert next(waiting, None) is None
    assert json.loads((folder / runs.END).read_text())["status"] == "finished"
    other = place / "other"
    other.mkdir()
    (other / runs.REQUEST).write_text(json.dumps(asked()))
    (other / runs.CANCEL).touch()
    monkeypatch.setattr(runs, "ahead", lambda _: 5)
    worker.work(other)
    assert json.loads((other / runs.END).read_text())["status"] == "cancelled"


def test_what_the_engine_refuses_is_said_in_its_words():
    run = until(runs.start(asked(scenarios=["nowhere"])), "refused")
    assert "there is no scenario 'nowhere'" in run.message


def test_a_defect_ends_a_run_and_is_logged(place, monkeypatch):
    monkeypatch.setattr(runs, "ahead", lambda _: 0)
    folder = place / "run"
    folder.mkdir()
    (folder / runs.REQUEST).write_text(json.dumps({"studies": [TEXT]}))
    worker.work(folder)
    end = json.loads((folder / runs.END).read_text())
    assert end["status"] == "failed"
    assert "KeyError" in end["message"]


def test_old_runs_are_removed_and_open_ones_are_not():
    old, fresh = runs.start(asked(trials=5)), runs.start(asked(trials=5))
    until(old, "finished")
    until(fresh, "finished")
    going = runs.start(asked(trials=LONG))
    until(going, "running")
    past = time.time() - (runs.KEPT_DAYS + 1) * 86_400
    for key in (old, going):
        os.utime(runs.runs_folder() / key, (past, past))
    other = runs.runs_folder() / "not-a-run"
    other.mkdir()
    os.utime(other, (past, past))
    runs.clean()
    assert [runs.exists(key) for key in (old, fresh, going)] == [False, True, True]
    assert other.exists()


def test_the_queue_has_an_end(monkeypatch):
    monkeypatch.setattr(runs, "MOST_OPEN", 1)
    runs.start(asked(trials=LONG))
    with pytest.raises(runs.RunError, match="cancel one"):
        runs.start(asked())


def test_an_address_that_names_no_run_is_refused():
    for key in ("../../etc", "0" * 32, ""):
        assert not runs.exists(key)
        with pytest.raises(runs.RunError, match="start it again"):
            runs.look(key)


def test_a_result_of_another_version_is_not_shown(tmp_path, monkeypatch):
    path = tmp_path / "kept.npz"
    write_simulations(path, [simulate(load("textbook-5-doses"))])
    monkeypatch.setattr("escalation.stored.__version__", "0.0")
    with pytest.raises(Exception, match="run it again"):
        read_simulations(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(Exception, match="cannot be read"):
        read_simulations(path)
