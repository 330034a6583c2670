"""The presets: provenance, placeholders, and the numbers they promise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.stats import binom

from escalation.advice import Advisor
from escalation.calendar import CalendarEngine
from escalation.errors import OutcomeError, StudyError
from escalation.exact import Graph, compile_graph
from escalation.numerics import NEVER
from escalation.outcomes import Replay, replay
from escalation.simulate import simulate
from escalation.study import Study, load, parse, preset_names, read_text, validate
from escalation.two_groups import power
from escalation.verify import verify

CART, UCMSC, ITP = "nct07212335", "nct05672420", "nct04014166"
EXO, PGF, BMF = "nct06245746", "nct06171906", "nct05794425"
ONE_REGIMEN = (EXO, PGF, BMF)
TRIALS = (CART, UCMSC, ITP, *ONE_REGIMEN)
TEXTBOOKS = (
    "textbook-5-doses",
    "textbook-bf-boin",
    "textbook-boin",
    "textbook-crm",
    "textbook-frequency",
    "textbook-grid-3x3",
    "textbook-titration",
)
LAST = "protocol.dlt_window.anchor=last"

FOUR, TWO = 5.0001e-5, 5.0001e-3
"""Half a unit in the last place of numbers printed with four and with two decimals."""


class Outcome(NamedTuple):
    """What escalation does under one truth, exactly; participants of the expansion are not counted."""

    none: float
    selection: np.ndarray
    patients: float
    dlts: float


@cache
def compiled(name: str, overrides: tuple[str, ...] = (), design: str | None = None) -> tuple[Study, Graph]:
    study = load(name, design=design, overrides=overrides)
    return study, compile_graph(study.protocol.rule)


def outcome(name: str, truth: str | list[float], *overrides: str, design: str | None = None) -> Outcome:
    study, graph = compiled(name, overrides, design)
    p = study.truth(study.scenario(truth)).probability if isinstance(truth, str) else np.array(truth)
    weight = graph.probabilities(p)[0]
    selection = weight @ graph.selected
    n, dlt = graph.n.sum(axis=1), graph.dlt.sum(axis=1)
    return Outcome(float(weight @ ~graph.selected.any(axis=1)), selection, float(weight @ n), float(weight @ dlt))


def close(got: Any, printed: Any, digits: float = FOUR) -> None:
    np.testing.assert_allclose(got, printed, rtol=0, atol=digits)


def probability(name: str, scenario: str, *overrides: str) -> np.ndarray:
    study = load(name, overrides=overrides)
    return study.truth(study.scenario(scenario)).probability


# every preset ---------------------------------------------------------------------------------


def test_the_presets_are_those_promised() -> None:
    assert set(preset_names()) == {*TRIALS, *TEXTBOOKS}


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_under_its_own_name_without_warnings(name: str) -> None:
    study = load(name)
    assert study.id == name
    assert study.warnings() == ()
    assert study.description
    assert all(each.description for each in study.scenarios)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_opens_with_a_comment_that_explains_it(name: str) -> None:
    text, _ = read_text(name)
    head = text[: text.index("schema: 1")]
    assert len(head.splitlines()) >= 8
    assert all(line.startswith("#") for line in head.splitlines())
    assert all(len(line) <= 120 for line in text.splitlines())


@pytest.mark.parametrize(
    ("name", "scenario"), [(name, each.name) for name in preset_names() for each in load(name).scenarios]
)
def test_every_scenario_runs_on_the_calendar(name: str, scenario: str) -> None:
    study = load(name)
    chosen = study.scenario(scenario)
    rows, _ = CalendarEngine(study.protocol, chosen, study.truth(chosen)).run(1, 0, 3)
    most = study.protocol.max_patients
    assert rows.n.shape == (3, study.protocol.grid.size)
    assert np.all(rows.n.sum(axis=1) >= study.protocol.cohort_size)
    assert most is not None
    assert np.all(rows.n.sum(axis=1) + rows.expansion_n <= most)


# provenance -----------------------------------------------------------------------------------

SAFETY_CRITICAL = (
    "protocol.regimens.unit",
    "protocol.regimens.doses",
    "protocol.regimens.frequencies",
    "protocol.dlt_window.days",
    "protocol.dlt_window.anchor",
    "protocol.design.name",
    "protocol.design.variant",
    "protocol.design.reading",
    "protocol.cohort_size",
    "protocol.start",
    "protocol.max_patients",
    "protocol.expansion.size",
    "protocol.expansion.look_every",
    "protocol.expansion.monitor",
    "protocol.stagger.sentinel_days",
    "protocol.stagger.between_days",
    "protocol.escalate_when",
    "protocol.evaluability.minimum_infusions",
    "protocol.evaluability.replace",
)
"""Doses and unit, schedule, window and anchor, escalation and stopping rule, start, stagger, evaluability, cap."""

NOT_CLAIMED = {"protocol.guards", "protocol.last_cohort"}
"""Left at the format's defaults, where they do nothing: no guard is listed, and every cohort fits."""


def at(data: Any, path: str) -> Any:
    """The value a source names; fails when there is none."""
    for step in path.split("."):
        data = next(each for each in data if each["name"] == step) if isinstance(data, list) else data[step]
    return data


def leaves(data: Any, path: str, covered: set[str]) -> Iterator[str]:
    """Paths of the values below a path that no source covers."""
    if path in covered or path in NOT_CLAIMED or data is None:
        return
    if isinstance(data, dict):
        for key, value in data.items():
            yield from leaves(value, f"{path}.{key}", covered)
    else:
        yield path


@pytest.mark.parametrize("name", TRIALS)
def test_every_source_points_to_a_value_and_says_why(name: str) -> None:
    study = load(name)
    data = study.as_dict()
    assert study.sources
    for path, note in study.sources.items():
        assert at(data, path) is not None, path
        assert note.reference, path


@pytest.mark.parametrize("name", TRIALS)
def test_a_source_that_points_nowhere_is_refused(name: str) -> None:
    data = parse(read_text(name)[0])
    data["sources"]["protocol.hold_rules"] = {"source": "registry"}
    with pytest.raises(StudyError, match=r"sources\.protocol\.hold_rules"):
        validate(data)


@pytest.mark.parametrize("name", TRIALS)
def test_no_protocol_value_of_a_registered_trial_is_without_a_source(name: str) -> None:
    study = load(name)
    assert list(leaves(study.as_dict()["protocol"], "protocol", set(study.sources))) == []


@pytest.mark.parametrize("path", SAFETY_CRITICAL)
@pytest.mark.parametrize("name", TRIALS)
def test_every_safety_critical_value_is_marked_so(name: str, path: str) -> None:
    study = load(name)
    try:
        held = at(study.as_dict(), path)
    except (KeyError, TypeError):
        held = None
    if held is None:
        assert path not in study.sources
        escalating = ("protocol.design.variant", "protocol.design.reading", "protocol.expansion.")
        assert (
            path.startswith(escalating) if name in ONE_REGIMEN else (name, path) == (ITP, "protocol.expansion.monitor")
        )
    else:
        assert study.sources[path].safety_critical


PROVENANCE = {
    CART: {
        "registry": "regimens.unit regimens.doses regimens.frequencies dlt_window.days design.name cohort_size",
        "inferred": "dlt_window.anchor design.reading design.variant max_patients expansion.size start",
        "placeholder": "stagger.sentinel_days stagger.between_days escalate_when evaluability.minimum_infusions "
        "evaluability.replace expansion.look_every expansion.monitor review_lag_days",
    },
    UCMSC: {
        "inferred": "start",
        "placeholder": "regimens.unit regimens.doses regimens.frequencies dlt_window.days dlt_window.anchor "
        "design.name design.variant design.reading design.carry_over cohort_size max_patients expansion.size "
        "expansion.look_every expansion.monitor stagger.sentinel_days stagger.between_days escalate_when "
        "evaluability.minimum_infusions evaluability.replace review_lag_days",
    },
    ITP: {
        "registry": "regimens.unit regimens.doses regimens.frequencies design.name cohort_size start expansion.size",
        "inferred": "design.variant design.reading",
        "placeholder": "dlt_window.days dlt_window.anchor max_patients expansion.look_every stagger.sentinel_days "
        "stagger.between_days escalate_when evaluability.minimum_infusions evaluability.replace review_lag_days",
    },
    EXO: {
        "registry": "dlt_window.days max_patients",
        "inferred": "dlt_window.anchor design.name start",
        "placeholder": "regimens.unit regimens.doses regimens.frequencies dlt_definition design.boundary "
        "design.stop_at cohort_size stagger.sentinel_days stagger.between_days review_lag_days escalate_when "
        "evaluability.minimum_infusions evaluability.replace",
    },
    PGF: {
        "registry": "regimens.unit regimens.doses regimens.frequencies max_patients",
        "inferred": "start",
        "placeholder": "dlt_definition dlt_window.days dlt_window.anchor design.name design.boundary design.limit "
        "design.overall design.minimum cohort_size stagger.sentinel_days stagger.between_days review_lag_days "
        "escalate_when evaluability.minimum_infusions evaluability.replace",
    },
    BMF: {
        "inferred": "regimens.unit regimens.doses max_patients start",
        "placeholder": "regimens.frequencies dlt_definition dlt_window.days dlt_window.anchor design.name "
        "design.boundary design.limit design.certainty design.prior design.minimum cohort_size stagger.sentinel_days "
        "stagger.between_days review_lag_days escalate_when evaluability.minimum_infusions evaluability.replace",
    },
}


@pytest.mark.parametrize(
    ("name", "path", "source"),
    [
        (name, f"protocol.{path}", source)
        for name, kinds in PROVENANCE.items()
        for source, paths in kinds.items()
        for path in paths.split()
    ],
)
def test_provenance_is_that_of_the_record(name: str, path: str, source: str) -> None:
    assert load(name).sources[path].source == source


@pytest.mark.parametrize("name", TRIALS)
def test_safety_critical_placeholders_are_announced(name: str) -> None:
    study = load(name)
    (notice,) = study.notices
    assert notice.startswith("NOT protocol-complete")
    placeholders = [path for path in SAFETY_CRITICAL if path.removeprefix("protocol.") in _placeholders(name)]
    assert placeholders
    for path in placeholders:
        assert path.removeprefix("protocol.") in notice
    for path, note in study.sources.items():
        if note.source != "placeholder":
            assert path not in study.placeholders


def _placeholders(name: str) -> list[str]:
    return PROVENANCE[name]["placeholder"].split()


@pytest.mark.parametrize("name", TEXTBOOKS)
def test_a_textbook_announces_nothing(name: str) -> None:
    study = load(name)
    assert study.notices == ()
    assert study.registry == ""
    assert all(note.source != "placeholder" for note in study.sources.values())


@pytest.mark.parametrize("name", TRIALS)
def test_a_registered_trial_says_what_the_file_does_not_hold(name: str) -> None:
    study = load(name)
    assert study.registry == name.upper()
    assert "DLT definition" in study.description


OPTION = r"--(?:set|design) (?:'[^']*'|[^\s;,)]*[^\s;,).])"
SWITCH = re.compile(rf"{OPTION}(?: {OPTION})*")


def switches(name: str) -> list[str]:
    study = load(name)
    texts = [study.description, *(each.description for each in study.scenarios)]
    texts += [note.alternatives for note in study.sources.values()]
    return sorted({found for text in texts for found in SWITCH.findall(text)})


@pytest.mark.parametrize(("name", "switch"), [(name, each) for name in preset_names() for each in switches(name)])
def test_every_switch_a_preset_names_selects_another_study_that_works(name: str, switch: str) -> None:
    options = [each.partition(" ") for each in re.findall(OPTION, switch)]
    overrides = [value.strip("'") for option, _, value in options if option == "--set"]
    designs = [value for option, _, value in options if option == "--design"]
    study = load(name, overrides=overrides, design=designs[0] if designs else None)
    assert study.hash != load(name).hash
    first = study.scenarios[0]
    rows, _ = CalendarEngine(study.protocol, first, study.truth(first)).run(1, 0, 2)
    assert np.all(rows.n.sum(axis=1) >= 3)


def test_the_ambiguities_of_the_records_have_their_switches() -> None:
    assert len(switches(CART)) >= 14
    assert {f"--set protocol.design.reading=R{k}" for k in (2, 3)} <= set(switches(CART))
    assert f"--set {LAST}" in switches(CART)
    assert {f"--design {each}" for each in ("three_plus_three_path", "frequency_then_dose")} <= set(switches(UCMSC))
    assert any("acknowledge_unordered" in each for each in switches(UCMSC))


# NCT07212335 ----------------------------------------------------------------------------------

T = {
    "T0": (".01 .01 .01", ".0012 .0012 .0012 .9965", 9.25),
    "T1": (".02 .04 .08", ".0046 .0173 .0617 .9163", 10.02),
    "T2": (".05 .10 .18", ".0266 .0914 .2191 .6629", 10.64),
    "T3": (".11 .21 .34", ".1108 .2784 .3572 .2536", 10.15),
    "T4": (".044 .076 .100", ".0209 .0563 .0866 .8362", 10.31),
    "T4-last": (".044 .091 .183", ".0209 .0778 .2297 .6716", 10.66),
    "T5": (".05 .05 .05", ".0266 .0259 .0252 .9224", 9.95),
    "T6": (".010 .030 .139", ".0012 .0100 .1626 .8262", 10.22),
}


def numbers(text: str) -> list[float]:
    return [float(each) for each in text.split()]


def test_cart_scenarios_are_in_order_with_t1_first() -> None:
    names = [each.name for each in load(CART).scenarios]
    more = ["T4-last", "T4-hazard", "T6-hazard", "T1-drop-out"]
    assert names == ["T1", "T0", "T2", "T3", "T4", "T5", "T6", *more]


@pytest.mark.parametrize("name", T)
def test_cart_stops_where_the_reference_says(name: str) -> None:
    p, stops, patients = T[name]
    close(probability(CART, name), numbers(p), 1e-12)
    got = outcome(CART, name)
    close([got.none, *got.selection], numbers(stops))  # stop at A: none; at B: A is declared; at C: B is
    close(got.patients, patients, TWO)


@pytest.mark.parametrize(
    ("scenario", "reading", "clear"),
    [
        ("T1", "R1", 0.9163),
        ("T1", "R2", 0.9761),
        ("T1", "R3", 0.9383),
        ("T2", "R1", 0.6629),
        ("T2", "R2", 0.8824),
        ("T2", "R3", 0.7409),
    ],
)
def test_cart_readings_of_two_or_more_dlts(scenario: str, reading: str, clear: float) -> None:
    got = outcome(CART, scenario, f"protocol.design.reading={reading}")
    close(got.selection[-1], clear)


def test_cart_plans_15_and_never_exceeds_24() -> None:
    _, graph = compiled(CART)
    total = graph.n.sum(axis=1) + graph.expansion_n
    assert total.max() == 24
    assert graph.n.sum(axis=1).max() == 18
    without = (graph.dlt.sum(axis=1) == 0) & (graph.expansion_dlt == 0)
    assert total[without].tolist() == [15]
    assert graph.n[without].tolist() == [[3, 3, 3]]
    assert total.min() < 15  # there is no floor


def test_cart_withdraws_the_recommendation_at_the_stated_numbers() -> None:
    _, graph = compiled(CART)
    at = np.argmax(graph.selected, axis=1)
    rows = np.arange(graph.rows)
    n = graph.n[rows, at] + graph.expansion_n
    dlt = graph.dlt[rows, at] + graph.expansion_dlt
    for size, least in ((6, 3), (9, 5), (12, 6)):
        here = (n == size) & (graph.expansion_n > 0)
        assert graph.withdrawn[here & (dlt >= least)].all()
        assert not graph.withdrawn[here & (dlt < least)].any()
        assert graph.withdrawn[here].any()


@pytest.mark.parametrize("name", [name for name in T if "last" not in name])
def test_cart_tables_lose_nobody_so_that_the_engines_agree(name: str) -> None:
    scenario = load(CART).scenario(name)
    assert (scenario.drop_out, scenario.missed_infusion, scenario.screen_failure) == (0, 0, 0)


@pytest.mark.parametrize("name", ["T1", "T3"])
def test_cart_calendar_agrees_with_the_exact_engine(name: str) -> None:
    study, trials = load(CART), 1000
    scenario = study.scenario(name)
    rows, _ = CalendarEngine(study.protocol, scenario, study.truth(scenario)).run(20, 0, trials)
    want = outcome(CART, name)
    error = np.sqrt(want.selection * (1 - want.selection) / trials)
    assert np.all(np.abs(rows.selected.mean(axis=0) - want.selection) < 4 * error)
    patients = rows.n.sum(axis=1)
    assert abs(patients.mean() - want.patients) < 4 * patients.std() / np.sqrt(trials)


def test_cart_drop_out_scenario_loses_participants() -> None:
    scenario = load(CART).scenario("T1-drop-out")
    assert (scenario.drop_out, scenario.missed_infusion, scenario.screen_failure) == (0.1, 0.05, 0.2)
    close(probability(CART, "T1-drop-out"), probability(CART, "T1"), 0)


@pytest.mark.parametrize(
    ("scenario", "overrides", "p"),
    [
        ("T4-hazard", (), [0.0437, 0.0759, 0.1004]),
        ("T4-hazard", (LAST,), [0.0437, 0.0912, 0.1826]),
        ("T6-hazard", (), [0.0100, 0.0296, 0.1393]),
        ("T6-hazard", (LAST,), [0.0100, 0.0296, 0.1393]),
    ],
)
def test_cart_hazards_give_the_printed_probabilities(scenario: str, overrides: tuple[str, ...], p: list[float]) -> None:
    close(probability(CART, scenario, *overrides), p)


@pytest.mark.parametrize(
    ("table", "hazard", "overrides"),
    [("T4", "T4-hazard", ()), ("T4-last", "T4-hazard", (LAST,)), ("T6", "T6-hazard", ())],
)
def test_cart_tables_are_the_hazards_rounded(table: str, hazard: str, overrides: tuple[str, ...]) -> None:
    study = load(CART, overrides=overrides)
    p = study.truth(study.scenario(hazard))
    close(probability(CART, table), p.probability, 5.01e-4)
    days = np.arange(1.0, float(p.ends.max()))
    for k in range(3):  # and the onset within the window has the course of the cumulative hazard
        course = study.truth(study.scenario(table)).cumulative(k, days) / probability(CART, table)[k]
        close(course, np.log1p(-p.cumulative(k, days)) / np.log1p(-p.probability[k]), 1e-9)


def test_cart_delayed_onset_hides_behind_the_window_from_the_first_infusion() -> None:
    truth = load(CART).truth(load(CART).scenario("T4-hazard"))
    late = load(CART, overrides=[LAST]).truth(load(CART).scenario("T4-hazard"))
    assert truth.ends.tolist() == [28, 28, 28]
    assert late.ends.tolist() == [28, 35, 49]
    assert late.probability[2] > 1.8 * truth.probability[2]


# NCT05672420 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "first_row", "clear", "patients"),
    [
        ("G1", [0.01, 0.02, 0.04, 0.06, 0.08], 0.8811, 16.36),
        ("G2", [0.03, 0.06, 0.12, 0.18, 0.25], 0.3744, 16.41),
        ("G3", [0.05, 0.10, 0.20, 0.30, 0.40], 0.0956, 14.73),
    ],
)
def test_ucmsc_along_the_doses_at_frequency_1(
    scenario: str, first_row: list[float], clear: float, patients: float
) -> None:
    got = outcome(UCMSC, scenario, design="three_plus_three")
    close(probability(UCMSC, scenario)[:5], first_row, 1e-12)
    close(got.selection[4], clear)
    close(got.patients, patients, TWO)
    assert not got.selection[5:].any()


@pytest.mark.parametrize("scenario", ["G1", "G2", "G3"])
def test_ucmsc_higher_frequencies_have_the_same_risk_per_infusion(scenario: str) -> None:
    rows = probability(UCMSC, scenario).reshape(3, 5)
    counts = [len(load(UCMSC).protocol.grid.schedules[f]) for f in range(3)]
    assert counts == [2, 4, 6]
    for row, count in zip(rows, counts, strict=True):
        close(row, 1 - (1 - rows[0]) ** (count / counts[0]))


@pytest.mark.parametrize(
    ("scenario", "p"),
    [
        (
            "H1",
            ".0060 .0096 .0158 .0214 .0268 .0119 .0190 .0311 .0421 .0523 .0177 .0282 .0461 .0620 .0767",
        ),
        (
            "H2",
            ".0148 .0248 .0426 .0589 .0742 .0292 .0486 .0822 .1122 .1399 .0433 .0715 .1193 .1610 .1987",
        ),
    ],
)
def test_ucmsc_hazard_surfaces_give_the_printed_probabilities(scenario: str, p: str) -> None:
    close(probability(UCMSC, scenario), numbers(p))


SURFACES = {
    "s1": ".05 .10 .15 .30 .45  .10 .15 .30 .45 .55  .15 .30 .45 .50 .60",
    "s3": ".02 .07 .10 .15 .30  .07 .10 .15 .30 .45  .10 .15 .30 .45 .55",
    "s4": ".30 .45 .60 .70 .80  .45 .55 .65 .75 .85  .50 .60 .70 .80 .90",
    "s6": ".05 .08 .10 .13 .15  .09 .12 .15 .30 .45  .15 .30 .45 .50 .60",
}


@pytest.mark.parametrize("scenario", SURFACES)
def test_ucmsc_benchmark_surfaces(scenario: str) -> None:
    close(probability(UCMSC, scenario), numbers(SURFACES[scenario]), 1e-12)


@pytest.mark.parametrize(
    ("scenario", "variant", "law", "patients", "dlts"),
    [
        (
            "s1",
            "V2",
            ".02717 .00926 .03664 .21669 .19036 .07702 .01565 .07015 .12394 .03128 .00528 "
            ".06996 .07186 .04462 .00930 .00083",
            24.0177,
            5.2031,
        ),
        (
            "s1",
            "V3",
            ".02717 .00934 .03716 .22074 .20906 .05389 .01878 .08051 .13666 .03675 .00385 "
            ".06675 .06114 .03144 .00647 .00029",
            24.7809,
            5.4387,
        ),
        (
            "s3",
            "V2",
            ".00463 .00255 .00895 .03524 .18936 .28546 .00444 .01512 .06749 .10831 .04955 "
            ".04338 .06759 .06912 .03899 .00982",
            25.1363,
            4.4215,
        ),
        (
            "s3",
            "V3",
            ".00463 .00256 .00903 .03620 .21912 .24376 .00541 .01816 .07842 .13565 .04463 "
            ".04240 .06453 .05955 .03120 .00475",
            26.6497,
            4.7927,
        ),
        (
            "s4",
            "V3",
            ".56749 .29022 .07197 .00459 .00010 0 .05102 .00514 .00010 0 0 .00898 .00039 0 0 0",
            10.4035,
            4.0452,
        ),
    ],
)
def test_ucmsc_dose_then_frequency_has_the_exact_law(
    scenario: str, variant: str, law: str, patients: float, dlts: float
) -> None:
    got = outcome(UCMSC, scenario, f"protocol.design.variant={variant}")
    close([got.none, *got.selection], numbers(law), 5.0001e-6)
    close([got.patients, got.dlts], [patients, dlts])


def test_ucmsc_recommends_no_regimen_on_fewer_than_six_and_stays_within_its_cap() -> None:
    study, graph = compiled(UCMSC)
    assert study.protocol.max_patients == 51
    assert study.protocol.escalation_maximum == 45
    assert graph.n.sum(axis=1).max() == 42
    assert graph.n[graph.selected].min() == 6
    fewer = compiled(UCMSC, ("protocol.design.variant=V2",))[1]
    assert fewer.n[fewer.selected].min() == 3


def test_ucmsc_staircase_is_the_reading_o4() -> None:
    study, graph = compiled(UCMSC, design="three_plus_three_path")
    grid = study.protocol.grid
    treated = [
        f"{'ABCDE'[grid.regimen(k).dose - 1]}{grid.regimen(k).frequency}" for k in study.protocol.rule.design.ladder
    ]
    assert treated == ["A1", "B1", "C1", "C2", "D2", "D3", "E3"]
    assert graph.n.any(axis=0).sum() == 7


# NCT04014166 ----------------------------------------------------------------------------------

HISTORY = "1NNN 2NNN 3NNT 3NNN 3NNNNNN"


def retold(text: str, *overrides: str) -> tuple[Replay, Advisor]:
    rule = load(ITP, overrides=overrides).protocol.rule
    advisor = Advisor(rule)
    return replay(rule, text, advisor=advisor), advisor


@pytest.mark.parametrize(
    ("seen", "action", "level", "size", "selected", "reason"),
    [
        ("1NNN", "escalate", 2, 3, (), "three_plus_three.first_cohort_clear"),
        ("1NNN 2NNN", "escalate", 3, 3, (), "three_plus_three.first_cohort_clear"),
        ("1NNN 2NNN 3NNT", "stay", 3, 3, (), "three_plus_three.one_dlt"),
        ("1NNN 2NNN 3NNT 3NNN", "stop", 3, 0, (3,), "three_plus_three.top_accepted"),
        (HISTORY, "stop", 3, 0, (3,), "trial.expansion_complete"),
    ],
)
@pytest.mark.parametrize("variant", ["V1", "V2", "V3"])
def test_itp_replay_gives_the_published_answers(
    variant: str, seen: str, action: str, level: int, size: int, selected: tuple[int, ...], reason: str
) -> None:
    told, advisor = retold(seen, f"protocol.design.variant={variant}")
    advice = advisor.advise(told.state)
    assert advice.decides
    assert (advice.action.word, advice.regimen + 1, advice.size) == (action, level, size)
    assert tuple(k + 1 for k in advice.selected) == selected
    assert advice.reasons == (reason,)


def test_itp_replay_counts_18_treated_12_and_6() -> None:
    told, _ = retold(HISTORY)
    state = told.state
    assert told.departures == ()
    assert state.stage == "expansion"
    assert state.treated == [3, 3, 12]
    assert (state.n, state.dlt) == ([3, 3, 6], [0, 0, 1])
    assert (state.expansion_n, state.expansion_dlt, state.expansion_pending) == (6, 0, 0)
    assert state.selected == (2,)
    assert not state.withdrawn


@pytest.mark.parametrize(
    ("impossible", "message"),
    [
        ("1NNN 3NNT", "goes to level 2"),
        ("1NNN 2NNN 3NNN 3NNN 3NNNN", "after the trial had ended|places|expansion"),
        ("1NNN 2NNN 3NTT 3NNN", "stops here"),
        (f"{HISTORY} 3N", "after the trial had ended|stops here"),
    ],
)
def test_itp_replay_refuses_what_the_rule_cannot_have_done(impossible: str, message: str) -> None:
    with pytest.raises(OutcomeError, match=message):
        retold(impossible)


def test_itp_description_carries_the_replay_and_its_answer() -> None:
    study = load(ITP)
    assert HISTORY in study.description
    assert study.protocol.grid.doses == (0.5, 1, 2)
    assert study.protocol.grid.schedules == ((0, 7, 14, 21),)


def test_itp_truths_follow_from_one_dlt_of_six() -> None:
    dose = np.array([0.5, 1.0, 2.0])
    close(probability(ITP, "observed"), 1 - (5 / 6) ** (dose / 2))
    close(probability(ITP, "upper-limit"), 1 - 0.36 ** (dose / 2))
    close(probability(ITP, "mild-hazard")[2], 0.0762)


# textbooks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "law", "patients", "dlts"),
    [
        ("V1", ".02656 .18126 .40063 .29980 .08418 .00756", 12.7094, 2.7353),
        ("V2", ".02785 .20058 .42878 .27647 .05876 .00756", 15.1165, 3.1984),
        ("V3", ".02785 .20058 .42895 .27745 .06142 .00376", 15.1450, 3.2134),
    ],
)
def test_textbook_3_plus_3_variants(variant: str, law: str, patients: float, dlts: float) -> None:
    got = outcome("textbook-5-doses", "mtd-3", f"protocol.design.variant={variant}")
    close([got.none, *got.selection], numbers(law), 5.0001e-6)
    close([got.patients, got.dlts], [patients, dlts])


def test_textbook_boin_and_3_plus_3_share_their_truths() -> None:
    names = [each.name for each in load("textbook-boin").scenarios]
    assert names == [each.name for each in load("textbook-5-doses").scenarios]
    for name in names:
        close(probability("textbook-boin", name), probability("textbook-5-doses", name), 0)


@pytest.mark.parametrize(
    ("scenario", "per_cent", "none", "patients"),
    [
        ("mtd-3", "1.045 23.25 55.05 19.20 1.43", 0.025, 29.993),
        ("even-steps", "4.295 29.125 41.06 20.60 4.655", 0.265, 29.935),
        ("mtd-1", "63.615 16.66 1.695 .09 0", 17.94, 26.607),
        ("mtd-5", ".015 .11 2.10 26.79 70.98", 0.005, 29.999),
        ("all-toxic", "30.265 1.495 .07 .005 0", 68.165, 17.797),
    ],
)
def test_textbook_boin_agrees_with_the_released_package(
    scenario: str, per_cent: str, none: float, patients: float
) -> None:
    got = outcome("textbook-boin", scenario)
    want = np.array([none, *numbers(per_cent)]) / 100
    exact = np.array([got.none, *got.selection])
    error = np.sqrt(exact * (1 - exact) / 20_000)
    assert np.all(np.abs(exact - want) < 4 * error + 1e-5)
    assert abs(got.patients - patients) < 0.15  # the package prints no standard deviation of N


def test_textbook_boin_with_as_few_as_the_3_plus_3() -> None:
    assert outcome("textbook-boin", "mtd-3", "protocol.max_patients=12").selection[2] == pytest.approx(0.49, abs=0.005)
    assert outcome("textbook-5-doses", "mtd-3").selection[2] == pytest.approx(0.30, abs=0.005)


def test_textbook_crm_skeleton() -> None:
    skeleton = load("textbook-crm").protocol.rule.design.skeleton
    close(skeleton, [0.0839734913056243, 0.156741021142636, 0.25, 0.354500427615112, 0.460343111085307], 1e-9)


@pytest.mark.parametrize(
    ("scenario", "truth", "selected", "patients"),
    [
        ("mtd-3", ".05 .15 .25 .40 .55", ".009 .194 .565 .222 .010", "4.389 8.34 11.007 5.442 .822"),
        ("mtd-1", ".25 .40 .50 .60 .70", ".782 .204 .014 0 0", "21.132 7.08 1.593 .189 .006"),
        ("mtd-5", ".02 .05 .08 .15 .25", "0 .002 .029 .285 .684", "3.198 3.624 4.74 7.32 11.118"),
    ],
)
def test_textbook_crm_agrees_with_dfcrm(scenario: str, truth: str, selected: str, patients: str) -> None:
    got = outcome("textbook-crm", scenario)
    close(probability("textbook-crm", scenario), numbers(truth), 0)
    error = np.sqrt(got.selection * (1 - got.selection) / 1000)
    assert np.all(np.abs(got.selection - numbers(selected)) < 4 * error + 1e-3)
    study, graph = compiled("textbook-crm")
    weight = graph.probabilities(study.truth(study.scenario(scenario)).probability)[0]
    mean = weight @ graph.n
    sd = np.sqrt(weight @ (graph.n - mean) ** 2)
    assert np.all(np.abs(mean - numbers(patients)) < 4 * sd / np.sqrt(1000) + 1e-3)
    assert got.patients == pytest.approx(30)


def test_textbook_crm_stops_under_toxicity_with_the_guard_only() -> None:
    guard = "protocol.guards=[{guard: too_toxic, target: 0.25, certainty: 0.95}]"
    assert f"--set '{guard}'" in load("textbook-crm").description
    without, guarded = outcome("textbook-crm", "all-toxic"), outcome("textbook-crm", "all-toxic", guard)
    assert without.none == 0
    assert without.selection[0] > 0.99
    assert guarded.none > 0.8


def test_textbook_frequency_curves() -> None:
    close(probability("textbook-frequency", "per-infusion"), 1 - 0.9 ** np.arange(1, 5), 1e-12)
    close(probability("textbook-frequency", "late"), [0.12, 0.20, 0.24, 0.25], TWO)
    close(probability("textbook-frequency", "late", LAST), [0.12, 0.24, 0.34, 0.43], TWO)
    assert load("textbook-frequency").protocol.grid.axis == "frequency"


def test_textbook_frequency_declares_nothing_on_fewer_than_six() -> None:
    _, graph = compiled("textbook-frequency")
    assert graph.n[graph.selected].min() == 6


def test_textbook_grid_selects_one_dose_for_each_frequency() -> None:
    study, graph = compiled("textbook-grid-3x3")
    rows = graph.selected.reshape(-1, 3, 3).sum(axis=2)
    assert rows.max() == 1
    assert rows.sum(axis=1).max() == 3
    assert study.protocol.rule.design.selects_contour
    diagonal = probability("textbook-grid-3x3", "diagonal").reshape(3, 3)
    close(np.fliplr(diagonal).diagonal(), [0.3, 0.3, 0.3], 0)


# the numbers in the header comments --------------------------------------------------------------

ROW = re.compile(r"^#\s{2,}([A-Za-z][\w-]*)\s+([\d./ ]+)", re.MULTILINE)


def header(name: str) -> dict[str, list[float]]:
    text = (files("scenarios") / f"{name}.yaml").read_text(encoding="utf-8")
    head = text[: text.index("schema: 1")]
    return {label: numbers(cells.replace("/", " ")) for label, cells in ROW.findall(head) if "." in cells}


@pytest.mark.parametrize("scenario", [f"T{k}" for k in range(7)])
def test_cart_header_prints_what_the_engine_gives(scenario: str) -> None:
    got, row = outcome(CART, scenario), header(CART)[scenario]
    close(probability(CART, scenario), row[:3], 1e-12)
    close([got.none, *got.selection], row[3:7])
    close(got.patients, row[7], TWO)


@pytest.mark.parametrize("scenario", ["G1", "G2", "G3", "H1", "H2", "s1", "s3", "s4", "s6"])
def test_ucmsc_header_prints_what_the_engine_gives(scenario: str) -> None:
    got, row = outcome(UCMSC, scenario), header(UCMSC)[scenario]
    by_frequency = got.selection.reshape(3, 5).sum(axis=1)
    close([got.none, *by_frequency, got.selection[14]], row[:5])
    close([got.patients, got.dlts], row[5:], TWO)


@pytest.mark.parametrize("variant", ["V1", "V2", "V3"])
def test_textbook_header_prints_what_the_engine_gives(variant: str) -> None:
    got = outcome("textbook-5-doses", "mtd-3", f"protocol.design.variant={variant}")
    row = header("textbook-5-doses")[variant]
    close([got.none, *got.selection], row[:6], 5.0001e-6)
    close(got.patients, row[6], TWO)


# the trials of one regimen --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "family"), [(EXO, "single_arm"), (PGF, "single_arm"), (BMF, "two_arm")])
def test_a_trial_that_does_not_escalate_is_not_squeezed_into_an_escalation(name: str, family: str) -> None:
    study = load(name)
    assert study.family == family
    assert study.sources["family"].safety_critical
    with pytest.raises(StudyError, match="boin escalates, and a study of the family"):
        load(name, design="boin")


@pytest.mark.parametrize("name", ONE_REGIMEN)
def test_a_trial_of_one_regimen_is_exact_and_proved(name: str) -> None:
    study = load(name)
    result = simulate(study)
    assert result.engine == "exact"
    assert 3 <= len(result.scenarios) <= 6
    assert verify(study.protocol.rule).holds
    assert all(np.isclose(each.rows.weight.sum(), 1) for each in result.scenarios)


@pytest.mark.parametrize(("name", "paths"), [(PGF, "day null target level definition"), (BMF, "day null target level")])
def test_every_value_of_the_response_has_its_source(name: str, paths: str) -> None:
    study = load(name)
    assert all(f"response.{path}" in study.sources for path in paths.split())
    assert {study.sources[f"response.{path}"].source for path in ("null", "target")} == {"placeholder"}


def test_the_groups_of_the_randomised_trial_have_their_sources() -> None:
    sources = load(BMF).sources
    kinds = {path: sources[f"groups.{path}"].source for path in ("participants", "ratio", "control", "treatment")}
    assert kinds == {"participants": "registry", "ratio": "placeholder", "control": "registry", "treatment": "registry"}
    assert "groups.ratio" in load(BMF).placeholders


def comment(name: str, row: str) -> list[float]:
    """The numbers of a row of the table in a preset's opening comment."""
    text, _ = read_text(name)
    line = next(line for line in text.splitlines() if line.startswith("#    ") and row in line)
    return [float(each) for each in re.findall(r"\d*\.\d+", line.partition(row)[2])]


def single(name: str, p: float, *overrides: str) -> tuple[Graph, np.ndarray]:
    graph = compiled(name, overrides)[1]
    return graph, graph.probabilities([p])[0]


def test_exo_stops_as_its_comment_says() -> None:
    truths = comment(EXO, "DLT probability ")
    assert truths == [0.01, 0.05, 0.10, 0.25, 0.45]
    by = {3: comment(EXO, "stopped by 3"), 6: comment(EXO, "stopped by 6"), 9: comment(EXO, "stopped by 9")}
    sizes = comment(EXO, "participants ")
    for place, p in enumerate(truths):
        graph, weight = single(EXO, p)
        stopped = ~graph.selected[:, 0]
        for n, printed in by.items():
            close(weight @ (stopped & (graph.n[:, 0] <= n)), printed[place])
        close(weight @ graph.n[:, 0], sizes[place], 5.0001e-4)
    graph, weight = single(EXO, 0.241)
    close(weight @ ~graph.selected[:, 0], 0.5, 2e-3)


def test_exo_holds_nine_and_only_nine() -> None:
    graph, _ = single(EXO, 0.1)
    assert set(graph.n[:, 0]) == {3, 6, 9}
    assert set(graph.n[graph.selected[:, 0], 0]) == {9}


def test_pgf_is_as_its_comment_says() -> None:
    truths = comment(PGF, "DLT probability ")
    stopped, sizes = comment(PGF, "stopped for toxicity"), comment(PGF, "participants ")
    low, high = comment(PGF, "response shown, 40 %"), comment(PGF, "response shown, 60 %")
    assert len(truths) == len(stopped) == len(sizes) == len(low) == len(high) == 5
    for place, p in enumerate(truths):
        graph, weight = single(PGF, p)
        complete = weight @ graph.selected[:, 0]
        close(1 - complete, stopped[place])
        close(weight @ graph.n[:, 0], sizes[place], TWO)
        close(complete * binom.sf(34, 68, 0.4), low[place])
        close(complete * binom.sf(34, 68, 0.6), high[place])
    assert load(PGF).protocol.rule.design.boundary[[2, 3, 4, 5, 6, 8, 68]].tolist() == [NEVER, 3, 4, 4, 5, 5, 23]


def test_pgf_says_that_a_protocol_is_attached_to_the_record() -> None:
    text, _ = read_text(PGF)
    assert "Prot_000.pdf" in text.partition("schema: 1")[0]
    assert "Prot_000.pdf" in load(PGF).description


def test_bmf_power_is_as_its_comment_says() -> None:
    rates = comment(BMF, "control .40, treatment")
    assert rates == [0.40, 0.50, 0.55, 0.60, 0.65, 0.70]
    for rate, printed in zip(rates, comment(BMF, "power "), strict=True):
        close(power(50, 50, "fisher_mid_p", 0.025, 0.40, rate), printed)


def test_bmf_holds_a_hundred_in_two_groups_and_says_what_is_not_simulated() -> None:
    study = load(BMF)
    assert study.groups is not None
    assert (study.groups.participants, study.groups.sizes, study.protocol.max_patients) == (100, (50, 50), 50)
    assert "Only response is simulated" in study.description
    assert any("not simulated" in note for note in simulate(study, scenarios=["planned"]).notes)


def test_the_ambiguities_of_the_trials_of_one_regimen_have_their_switches() -> None:
    assert any("family=escalation" in each and "WHAT-IF" in each for each in switches(EXO))
    assert f"--set {LAST}" in switches(EXO)
    assert {"--set response.day=61", "--set response.day=56"} <= set(switches(PGF))
    assert {"--set groups.test=fisher", "--set groups.test=z_unpooled", "--set response.day=730"} <= set(switches(BMF))
    assert "--set 'protocol.regimens.frequencies=[[0, 7]]'" in switches(BMF)


def test_the_what_if_of_exo_is_labelled_as_one() -> None:
    (switch,) = [each for each in switches(EXO) if "family=escalation" in each]
    overrides = [value.strip("'") for _, _, value in (each.partition(" ") for each in re.findall(OPTION, switch))]
    study = load(EXO, overrides=overrides)
    assert study.family == "escalation"
    assert study.title.startswith("WHAT-IF")
    assert study.protocol.grid.size == 3
    assert study.notices
