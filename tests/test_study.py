"""Study files: read strictly, every fault at once, nothing turned into something else."""

from __future__ import annotations

import contextlib
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalation.errors import StudyError
from escalation.plain_data import parse
from escalation.study import Study, load, preset_names, validate

MINIMAL = """
schema: 1
id: small
title: Small
protocol:
  regimens: {unit: mg, doses: [1, 2, 3]}
  design: {name: three_plus_three}
scenarios:
  - {name: only, truth: [0.1, 0.2, 0.3]}
"""


def edited(change):
    data = parse(MINIMAL)
    change(data)
    return data


def faults(data):
    with pytest.raises(StudyError) as caught:
        validate(data)
    return {fault.path: str(fault) for fault in caught.value.faults}


def test_a_minimal_study_gets_the_documented_defaults():
    study = validate(parse(MINIMAL))
    protocol = study.protocol
    assert (protocol.cohort_size, protocol.dlt_window.days, protocol.dlt_window.anchor) == (3, 28, "first")
    assert protocol.grid.shape == (1, 3)
    assert study.target == 0.30


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_survives_being_written_and_read_again(name):
    study = load(name)
    again = validate(json.loads(json.dumps(study.as_dict())))
    assert again == study
    assert again.hash == study.hash


def test_json_is_an_exact_equivalent_of_yaml(tmp_path):
    file = tmp_path / "small.json"
    file.write_text(json.dumps(parse(MINIMAL)), encoding="utf-8")
    assert load(str(file)).hash == validate(parse(MINIMAL)).hash


def test_every_fault_is_reported_at_once_with_its_path():
    data = parse(
        """
schema: 1
id: many
title: Many
protocol:
  regimens: {unit: mg, doses: [3, 2], frequencies: [[0], [1, 7]]}
  dlt_window: {days: 0}
  design: {name: boin, target: 2, foo: 1}
  cohort_size: no
  guards: [{guard: stop_at_n}]
scenarios:
  - {name: a, truth: [0.1, 1.2]}
  - {name: b, truth: [0.1, 0.2], accrual: {law: poisson, mean_gap_days: -1}}
surplus: 1
"""
    )
    found = faults(data)
    assert set(found) >= {
        "protocol.regimens.doses",
        "protocol.regimens.frequencies.1.days",
        "protocol.dlt_window.days",
        "protocol.design.target",
        "protocol.design.foo",
        "protocol.cohort_size",
        "protocol.guards.0.n",
        "scenarios.0.truth.table",
        "scenarios.1.accrual.mean_gap_days",
        "surplus",
    }


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("protocol.cohort_sze", 3, "did you mean 'cohort_size'"),
        ("protocol.design.varient", "V2", "did you mean 'variant'"),
        ("protocol.design.name", "boinn", "did you mean 'boin'"),
        ("protocol.regimens.doses", [], "the list is empty"),
        ("protocol.regimens.doses", [2, 1], "dose amounts must increase"),
        ("protocol.regimens.doses", [True, 2], "not a"),
        ("protocol.regimens.frequencies", [[]], "the list is empty"),
        ("protocol.regimens.frequencies", [[0], [7, 14]], "start at 0"),
        ("protocol.regimens.frequencies", [[0, 40]], "ends before the last infusion on day 40"),
        ("protocol.start.dose", 4, "dose levels run from 1 to 3"),
        ("protocol.start.frequency", 2, "frequency levels run from 1 to 1"),
        ("protocol.max_patients", 2, "do not hold the first cohort"),
        ("protocol.max_patients", 0, "greater than or equal to 1"),
        ("protocol.cohort_size", "3", "not a whole number"),
        ("protocol.cohort_size", 2.5, "not a whole number"),
        ("protocol.cohort_size", True, "not a whole number"),
        ("protocol.design.variant", "V9", "'V1', 'V2' or 'V3'"),
        ("protocol.design.reading", "R1 ", "'R1', 'R2' or 'R3'"),
        ("protocol.expansion", {"size": 0}, "greater than or equal to 1"),
        ("scenarios", [], "the list is empty"),
        ("scenarios.0.truth", [0.1, 0.2], "1 x 2 probabilities for 1 x 3"),
        ("scenarios.0.truth", [0.1, 0.2, -0.1], "between 0 and 1"),
        ("scenarios.0.truth", [0.1, 0.2, 20], "20 in row 1, column 3 is not a probability between 0 and 1"),
        ("scenarios.0.truth", [0.1, 0.2, "x"], "not a probability"),
        ("scenarios.0.accrual", {"mean_gap_days": 3}, "add law: poisson or uniform or fixed or listed"),
        ("scenarios.0.drop_out", 1.0, "less than 1"),
        ("scenarios.0.name", "", "at least 1 character"),
        ("schema", 2, "1"),
        ("id", "a b", "pattern"),
        ("sources", {"protocol.nothing": {"source": "inferred"}}, "no value of the study has this path"),
        ("sources", {"protocol.cohort_size": {"source": "guess"}}, "'registry'"),
    ],
)
def test_a_wrong_value_is_named_with_how_to_mend_it(path, value, words):
    def change(data):
        here = data
        *steps, last = path.split(".")
        for step in steps:
            here = here[int(step)] if step.isdigit() else here.setdefault(step, {})
        here[last] = value

    found = faults(edited(change))
    assert any(words in text for text in found.values()), found
    assert any(key.startswith(path.split(".")[0]) for key in found)


def test_a_design_that_does_not_end_needs_a_maximum():
    found = faults(edited(lambda data: data["protocol"].update(design={"name": "boin"})))
    assert "does not end by itself" in found["protocol.max_patients"]


def test_two_scenarios_of_one_name_are_refused():
    found = faults(edited(lambda data: data["scenarios"].append(copy.deepcopy(data["scenarios"][0]))))
    assert "used twice" in found["scenarios.1.name"]


def test_yaml_1_2_words_and_numbers_keep_their_meaning():
    data = parse("schema: 1\nid: no\ntitle: off\nscenarios: [{name: yes, truth: [1e-3, 012, 0.5]}]\nclock: 1:30")
    assert (data["id"], data["title"], data["scenarios"][0]["name"]) == ("no", "off", "yes")
    assert data["scenarios"][0]["truth"] == [0.001, 12, 0.5]
    assert data["clock"] == "1:30"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "not valid YAML"),
        ("a: 1\na: 2\n", "duplicate key"),
        ("- 1\n", "mapping"),
        ("", "mapping"),
        ("a: !!python/object:os.system x", "not valid YAML"),
        ("a: 2024-13-45", "cannot be read"),
        ("schema: 1\nid: x\ntitle: 2024-01-01\n", "not text or a number"),
    ],
)
def test_text_that_is_no_study_is_refused_in_words(tmp_path, text, words):
    file = tmp_path / "broken.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=words):
        load(str(file))


def test_unreadable_files_are_refused_in_words(tmp_path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    for name in (str(binary), str(tmp_path), str(tmp_path / "missing.yaml")):
        with pytest.raises(StudyError, match="cannot be read"):
            load(name)
    with pytest.raises(StudyError, match="did you mean 'textbook-boin'"):
        load("textbook-bion")


def test_a_truth_that_falls_is_allowed_and_warned_about():
    study = load("textbook-5-doses", truth=".1 .3 .2 .4 .5")
    assert any("falls from 0.3 at dose 2 to 0.2 at dose 3" in line for line in study.warnings())


def test_truth_on_the_command_line_keeps_the_first_scenarios_accrual():
    study = load("nct07212335", truth=".1 .2 .3", overrides=["scenarios.T1.drop_out=0.2"])
    assert [each.name for each in study.scenarios] == ["truth"]
    assert study.scenarios[0].drop_out == 0.2
    assert study.scenarios[0].accrual == load("nct07212335").scenarios[0].accrual


def test_grid_rows_of_a_truth_are_separated_by_a_slash():
    truth = load("nct05672420", truth=".1 .2 .3 .4 .5 / .2 .3 .4 .5 .6 / .3 .4 .5 .6 .7")
    assert truth.truth(truth.scenarios[0]).probability[10] == 0.3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("nonsense", "not PATH=VALUE"),
        ("=3", "not PATH=VALUE"),
        ("title.more=3", "holds no further values"),
        ("scenarios.99=3", "no entry '99'"),
        ("protocol.cohort_size=[", "not valid YAML"),
    ],
)
def test_an_override_that_cannot_be_applied_is_named(override, words):
    with pytest.raises(StudyError, match=words):
        load("textbook-5-doses", overrides=[override])


def test_overrides_reach_any_value():
    study = load(
        "textbook-5-doses",
        overrides=[
            "protocol.max_patients=24",
            "scenarios.mtd-3.truth=[.1, .2, .3, .4, .5]",
            "protocol.design.variant=V3",
        ],
    )
    assert study.protocol.max_patients == 24
    assert study.truth(study.scenario("mtd-3")).probability.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert "V3" in study.protocol.rule.design.label


def test_a_value_set_by_hand_counts_as_a_placeholder():
    assert "design.variant" not in load("nct07212335").notices[0]
    assert "design.variant" in load("nct07212335", overrides=["protocol.design.variant=V2"]).notices[0]
    assert (
        "regimens.frequencies"
        in load("nct07212335", overrides=["protocol.regimens.frequencies.2.days=[0,7,14]"]).notices[0]
    )
    assert load("nct07212335", overrides=["protocol.stagger.sentinel_days=14"]).notices == load("nct07212335").notices
    assert "design" in load("nct07212335", design="boin").notices[0]
    assert load("textbook-5-doses", overrides=["protocol.design.variant=V2"]).notices == ()


def test_the_hash_follows_every_value_and_nothing_else():
    base = load("textbook-5-doses")
    assert base.hash == load("textbook-5-doses", overrides=["protocol.cohort_size=3"]).hash
    assert base.hash != load("textbook-5-doses", overrides=["scenarios.mtd-3.drop_out=0.1"]).hash


def test_the_maximum_counts_both_stages_and_keeps_the_expansion_places():
    protocol = load("nct07212335").protocol
    assert (protocol.max_patients, protocol.escalation_maximum, protocol.rule.max_patients) == (24, 18, 18)


def test_an_expansion_needs_a_design_that_selects_one_regimen():
    with pytest.raises(StudyError, match="selects a dose for each frequency"):
        load("nct05672420", design="three_plus_three_contour")


def test_the_json_schema_describes_the_file():
    schema = Study.model_json_schema(by_alias=True)
    assert {"schema", "id", "title", "protocol", "scenarios"} <= set(schema["properties"])
    assert set(schema["required"]) == {"schema", "id", "title", "protocol", "scenarios"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_stands_where_a_protocol_belongs_is_refused_and_never_crashes(value):
    data = parse(MINIMAL)
    data["protocol"] = value
    with pytest.raises(StudyError):
        validate(data)


@given(
    st.dictionaries(
        st.sampled_from(["name", "truth", "accrual", "held", "drop_out", "onset"]),
        st.recursive(
            st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["table", "hazard", "law", "a"]), inner)
            ),
        ),
    )
)
def test_any_scenario_is_read_or_refused_and_never_crashes(scenario):
    data = parse(MINIMAL)
    data["scenarios"] = [scenario]
    with contextlib.suppress(StudyError):
        assert validate(data).scenarios[0].name == scenario["name"]
