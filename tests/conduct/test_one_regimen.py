"""Live conduct of a trial of one regimen: it opens with its criteria, goes on, and stops at the boundary."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from escalation.conduct.eligibility import load_criteria
from escalation.conduct.service import ConductError
from escalation.study import load

_spec = importlib.util.spec_from_file_location("conduct_kit", Path(__file__).with_name("kit.py"))
kit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kit)

UNHURRIED = [
    "protocol.stagger.sentinel_days=0",
    "protocol.stagger.between_days=0",
    "protocol.review_lag_days=0",
    "protocol.regimens.frequencies=[[0, 6]]",
]


@pytest.mark.parametrize("name", ["nct06245746", "nct06171906"])
def test_a_preset_opens_with_its_criteria(tmp_path, name):
    site = kit.Site(tmp_path, name, criteria=name)
    assert load_criteria(name).trial == name
    state = site.state()
    assert state.opened.criteria == name
    assert state.in_force() == load(name)
    assert site.verify().findings == ()
    site.close()


def test_the_trial_stops_at_its_boundary(tmp_path):
    site = kit.Site(tmp_path, load("nct06245746", overrides=UNHURRIED))
    site.cohort("P1", "P2", "P3", dlts=("P2",))
    recommended = site.advice(site.recommend())
    assert (recommended["action"], recommended["size"]) == ("stay", 3)
    site.decide()
    site.cohort("P4", "P5", "P6", dlts=("P4",))
    recommended = site.advice(site.recommend())
    assert (recommended["action"], recommended["selected"]) == ("stop", [])
    site.decide()
    assert site.state().trial_state().stage == "closed"
    assert site.counts()[:2] == ([6], [2])
    assert site.verify().findings == ()
    site.close()


def test_particles_are_not_compared_with_cells_per_kilogram(tmp_path):
    site = kit.Site(tmp_path, "nct06245746")
    site.treat("P1")
    findings = site.person("P1").infusions[1].findings
    assert any("10^9 particles" in each for each in findings)
    assert not any("outside 100" in each for each in findings)
    site.close()


def test_the_trial_ends_with_its_planned_number(tmp_path):
    site = kit.Site(tmp_path, load("nct06245746", overrides=UNHURRIED))
    for first in (1, 4, 7):
        site.cohort(*(f"P{first + k}" for k in range(3)))
        site.decide()
    state = site.state().trial_state()
    assert (state.stage, state.selected, state.n) == ("closed", (0,), [9])
    site.close()


def test_continuous_monitoring_asks_for_the_next_participant_only(tmp_path):
    site = kit.Site(tmp_path, "nct06171906")
    site.treat("P1")
    recommended = site.advice(site.recommend())
    assert (recommended["action"], recommended["size"]) == ("stay", 1)  # one pending cannot reach the boundary
    site.close()


def test_a_randomised_study_is_refused_with_its_reason(tmp_path):
    with pytest.raises(ConductError, match="randomises between two groups"):
        kit.Site(tmp_path, "nct05794425")
