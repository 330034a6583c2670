"""The command line: its JSON forms, its errors, and what a reader sees."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from escalation.cli import app, main


def run(*arguments):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.stdout


def form(*arguments):
    return json.loads(run(*arguments, "--json"))


@pytest.fixture
def fails(monkeypatch, capsys):
    """Runs the whole command as a user would; returns the message of an input it refuses."""

    def refused(*arguments):
        monkeypatch.setattr(sys, "argv", ["escalation", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        assert caught.value.code == 2
        assert shown.out == ""
        assert "Traceback" not in shown.err
        return shown.err

    return refused


def test_simulate_has_the_contracts_keys_and_is_exact():
    answer = form("simulate", "textbook-5-doses", "--scenario", "mtd-3")
    assert {"study", "design", "engine", "trials", "seed", "version", "study_hash", "scenarios"} <= set(answer)
    assert (answer["engine"], answer["trials"], answer["design"]) == ("exact", None, "three_plus_three")
    (scenario,) = answer["scenarios"]
    assert scenario["mcse"] is None
    assert scenario["truth"] == [[0.05, 0.15, 0.30, 0.45, 0.60]]
    assert scenario["no_selection"] == pytest.approx(0.026557859375, abs=1e-9)
    assert scenario["selection"][0] == pytest.approx([0.1812623, 0.4006346, 0.2997989, 0.0841834, 0.0075628], abs=1e-6)
    assert scenario["total_patients"]["mean"] == pytest.approx(12.7093505781568, abs=1e-9)
    assert set(scenario["total_patients"]["quantiles"]) >= {"0.05", "0.5", "0.95"}
    assert scenario["expansion"] is None
    assert scenario["duration_days"] is None
    assert sum(scenario["stop_reasons"].values()) == pytest.approx(1)


def test_simulated_numbers_carry_their_errors_number_for_number():
    for engine in ("sampled", "calendar"):
        answer = form("simulate", "nct07212335", "--scenario", "T3", "--engine", engine, "--trials", "300")
        (scenario,) = answer["scenarios"]
        errors = scenario["mcse"]
        assert (answer["engine"], answer["trials"], answer["seed"]) == (engine, 300, 1)
        assert [len(row) for row in errors["selection"]] == [1, 1, 1]
        p = scenario["selection"][2][0]
        assert errors["selection"][2][0] == pytest.approx((p * (1 - p) / 300) ** 0.5)
        assert errors["total_patients"]["mean"] > 0
        assert errors["expansion"]["withdrawn"] >= 0
        assert set(errors["measures"]) == set(scenario["measures"])
        assert (scenario["duration_days"] is None) == (engine == "sampled")


def test_truth_design_and_set_are_taken_by_every_study_command():
    answer = form(
        "simulate",
        "textbook-5-doses",
        "--design",
        "boin",
        "--set",
        "protocol.design.target=0.25",
        "--truth",
        ".1 .2 .3 .4 .5",
    )
    assert answer["design"] == "boin"
    assert answer["target"] == 0.30  # the study's criteria
    assert [each["name"] for each in answer["scenarios"]] == ["truth"]
    assert form("decide", "textbook-5-doses", "--design", "boin", "--outcomes", "1NNN")["design"] == "boin"
    table = form("table", "textbook-5-doses", "--design", "boin", "--set", "protocol.design.target=0.25")
    assert table["de_escalate_if_at_least"][table["n"].index(3)] == 1


def test_a_grid_is_printed_with_frequencies_as_rows():
    answer = form("simulate", "nct05672420", "--scenario", "s1")
    (scenario,) = answer["scenarios"]
    assert [len(row) for row in scenario["selection"]] == [5, 5, 5]
    assert answer["notices"]


@pytest.mark.parametrize(
    ("outcomes", "action", "nxt", "size", "selected"),
    [
        ("", "stay", 1, 3, None),
        ("1NNN", "escalate", 2, 3, None),
        ("1NNT", "stay", 1, 3, None),
        ("1NN", "stay", 1, 1, None),
        ("1NNX", "stay", 1, 1, None),
        ("1NNP", "wait", None, 0, None),
        ("1TT", "stop", None, 0, None),
        ("1NNN 2TT", "stop", None, 0, 1),
        ("1NNN 2NTP", "wait", None, 0, None),
        ("1NNN 2TTP", "stop", None, 0, 1),
        ("1NNN 2NNT 2NNN", "escalate", 3, 3, None),
        ("1.1NNN 2.1NNT", "stay", 2, 3, None),
        ("1NNN 2NNN 3NNN 4NNN 5NNN", "stop", None, 0, 5),
    ],
)
def test_decide_answers_in_the_contracts_form(outcomes, action, nxt, size, selected):
    answer = form("decide", "textbook-5-doses", "--outcomes", outcomes)
    assert answer["action"] == action
    assert answer["next"] == (None if nxt is None else {"dose": nxt, "frequency": 1})
    assert answer["cohort_size"] == size
    assert answer["selected"] == (None if selected is None else {"dose": selected, "frequency": 1})
    assert all(set(reason) == {"code", "text"} for reason in answer["reasons"])
    assert bool(answer["waiting_for"]) == (action == "wait")


def test_decide_tells_which_participant_decides():
    answer = form("decide", "textbook-5-doses", "--outcomes", "1NNN 2NTP")
    assert answer["waiting_for"] == [{"participant": 6, "regimen": {"dose": 2, "frequency": 1}}]
    assert answer["outlook"] == ["no further DLT: treats more at level 2", "1 further DLT: stops and selects level 1"]


def test_decide_on_the_grid_and_on_the_frequency_axis():
    grid = form("decide", "nct05672420", "--outcomes", "1.1NNN 2.1NNN 3.1NTT 2.1NNN")
    assert (grid["action"], grid["next"]) == ("escalate", {"dose": 2, "frequency": 2})
    axis = form("decide", "nct07212335", "--outcomes", "1NNN")
    assert axis["next"] == {"dose": 1, "frequency": 2}
    assert form("decide", "nct07212335", "--outcomes", "1.1NNN")["next"] == axis["next"]


def test_a_certain_decision_that_waits_for_windows_says_so():
    asked = ("--design", "pipe", "--set", "protocol.expansion=null", "--outcomes")
    certain = run("decide", "nct05672420", *asked, "1.1NNN 2.1NNP")
    assert "Wait for the windows to be complete." in certain
    assert "leads to the same decision" in certain
    assert "whatever the open outcomes: draws level 3.1 or 2.2" in certain
    assert "can change the decision" not in certain
    assert "can change the decision" in run("decide", "nct05672420", "--outcomes", "1.1NNP")


def test_decide_names_every_regimen_that_can_be_drawn():
    asked = ("decide", "textbook-grid-3x3", "--design", "pipe", "--outcomes", "1.1NNN")
    assert "level 2.1 with probability 0.5, level 1.2 with probability 0.5" in " ".join(run(*asked).split())
    shares = form(*asked)["allocation"]
    assert shares[0][1] == shares[1][0] == pytest.approx(0.5)
    assert "drawn" not in run("decide", "textbook-grid-3x3", "--outcomes", "1.1NNN")


def test_the_rule_of_a_grid_design_prints_the_numbers_it_decides_with():
    """BOIN's table for a target of .3 (Liu & Yuan 2015), a prior for every regimen, the orderings."""
    said = run("rule", "textbook-grid-3x3", "--design", "boin_combination", "--set", "protocol.design.target=0.3")
    lines = dict(line.split("  ", 1) for line in said.splitlines() if "if at" in line or line.startswith("evaluable"))
    assert lines["evaluable"].startswith("3 6 9 12 15 18")
    assert lines["escalate if at most"].startswith("0 1 2 2 3 4")
    assert lines["de-escalate if at least"].startswith("2 3 4 5 6 7")
    assert lines["eliminate if at least"].startswith("3 4 5 7 8 9")
    for design in ("keyboard_combination", "waterfall"):
        assert "eliminate if at least" in run("rule", "textbook-grid-3x3", "--design", design)
    pipe = form("rule", "textbook-grid-3x3", "--design", "pipe")["constants"]
    assert pipe["levels"].split()[3] == "1.2"
    assert sum(pipe["prior_size"]) == pytest.approx(1)
    assert pipe["prior_median"] == sorted(pipe["prior_median"][:3]) + pipe["prior_median"][3:]
    orderings = form("rule", "textbook-grid-3x3", "--design", "pocrm")["constants"]
    assert orderings["ordering_1"] == "1.1 2.1 3.1 1.2 2.2 3.2 1.3 2.3 3.3"
    assert len(orderings["skeleton"]) == 9


def test_the_replayed_sibling_ends_at_its_published_dose():
    declared = form("decide", "nct04014166", "--outcomes", "1NNN 2NNN 3NNT 3NNN")
    assert (declared["action"], declared["selected"]) == ("stop", {"dose": 3, "frequency": 1})
    closed = form("decide", "nct04014166", "--outcomes", "1NNN 2NNN 3NNT 3NNN 3NNNNNN")
    assert (closed["action"], closed["selected"]) == ("stop", {"dose": 3, "frequency": 1})
    assert closed["expansion"]["patients"] == 6


def test_a_departure_is_refused_by_a_rule_and_listed_by_a_model():
    answer = form("decide", "textbook-boin", "--outcomes", "2NNN")
    assert answer["action"] == "escalate"
    assert "participant 1 was treated at level 2" in answer["departures"][0]
    estimates = form("decide", "textbook-crm", "--outcomes", "1NNN 2NNT")["estimates"]
    assert len(estimates["curve"]) == 5
    assert all(
        low < p < high for low, p, high in zip(*(estimates[k] for k in ("lower", "curve", "upper")), strict=True)
    )
    assert (estimates["level"], "beta" in estimates, "variance" in estimates) == (0.9, True, True)
    assert form("decide", "textbook-boin", "--outcomes", "1NNN")["estimates"] is None


def test_the_rule_prints_the_skeleton():
    printed = form("rule", "textbook-crm", "--set", "protocol.design.halfwidth=0.06")
    assert printed["constants"]["prior_variance"] == 1.34
    assert len(printed["constants"]["skeleton"]) == 5
    assert printed["design_label"] == "CRM, power model"
    assert "0.25" in run("rule", "textbook-crm")


def test_table_verify_pathways_compare_and_lists():
    table = form("table", "textbook-5-doses")
    assert table == {
        "n": [3, 6],
        "escalate_if_at_most": [0, 1],
        "de_escalate_if_at_least": [2, 2],
        "eliminate_if_at_least": [2, 2],
    }
    proof = form("verify", "textbook-5-doses")
    assert proof["states"] > 0
    assert all(each["holds"] and each["counterexample"] is None for each in proof["properties"])
    assert proof["notes"] == []
    (windows, broken) = form("verify", "textbook-boin", "--design", "tite_boin")["notes"]
    assert "every window is complete" in windows
    assert "as published" in broken
    nodes = form("pathways", "textbook-5-doses", "--cohorts", "1")["nodes"]
    assert [node["outcomes"] for node in nodes] == ["", "1NNN", "1NNT", "1NTT", "1TTT"]
    assert sum(node["probability"] for node in nodes if node["depth"] == 1) == pytest.approx(1)
    compared = form("compare", "textbook-5-doses", "--design", "boin", "--scenario", "mtd-3", "--trials", "400")
    assert [entry["design"] for entry in compared["entries"]] == ["three_plus_three", "boin"]
    assert {"name", "citation", "parameters", "title"} == set(form("designs")["designs"][0])
    assert "nct07212335" in [each["name"] for each in form("studies")["studies"]]


def test_pathways_start_from_pending_participants_too():
    nodes = form("pathways", "textbook-5-doses", "--from", "1NNN 2NNP", "--cohorts", "1")["nodes"]
    assert [(node["outcomes"], node["action"]) for node in nodes[1:]] == [
        ("1NNN 2NNN", "escalate"),
        ("1NNN 2NNT", "stay"),
    ]
    assert nodes[2]["probability"] == pytest.approx(0.15)


def test_verify_strict_ends_with_1_when_a_property_is_broken():
    assert CliRunner().invoke(app, ["verify", "textbook-boin"]).exit_code == 0
    assert CliRunner().invoke(app, ["verify", "textbook-boin", "--strict"]).exit_code == 1
    assert CliRunner().invoke(app, ["verify", "textbook-5-doses", "--strict"]).exit_code == 0


def test_new_writes_a_valid_study_and_never_overwrites(tmp_path, fails):
    file = tmp_path / "mine.yaml"
    run("new", str(file))
    assert form("validate", str(file))["valid"]
    before = file.read_text(encoding="utf-8")
    assert "exists already" in fails("new", str(file))
    assert file.read_text(encoding="utf-8") == before


def test_validate_lists_faults_as_data(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("schema: 1\nid: x\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["validate", str(file), "--json"])
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert not answer["valid"]
    assert {"title", "protocol", "scenarios"} <= {fault["path"] for fault in answer["faults"]}


def test_records_are_written_as_tables(tmp_path):
    folder = tmp_path / "records"
    run(
        "simulate",
        "nct07212335",
        "--scenario",
        "T3",
        "--engine",
        "calendar",
        "--trials",
        "20",
        "--records",
        str(folder),
    )
    trials = (folder / "trials.csv").read_text(encoding="utf-8").splitlines()
    people = (folder / "participants.csv").read_text(encoding="utf-8").splitlines()
    assert len(trials) == 21
    assert people[0].startswith("scenario,trial,arrival,")
    assert len(people) > 100


def test_schema_prints_the_json_schema():
    assert json.loads(run("schema"))["title"] == "Study"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["decide", "textbook-5-doses", "--outcomes", "1NNQ"], "Q is no outcome"),
        (["decide", "textbook-5-doses", "--outcomes", "NNN"], "not a level followed by letters"),
        (["decide", "textbook-5-doses", "--outcomes", "1NNN,7NNN"], "dose levels 1 to 5"),
        (["decide", "textbook-5-doses", "--outcomes", "0NNN"], "does not exist"),
        (["decide", "textbook-5-doses", "--outcomes", "2NNN"], "participant 1 was treated at level 2"),
        (["decide", "textbook-5-doses", "--outcomes", "1NTT 2NNN"], "after the trial had ended|stops here"),
        (["decide", "textbook-5-doses", "--outcomes", "1NNNN"], "participant 4"),
        (["decide", "nct05672420", "--outcomes", "1NNN"], "dose.frequency"),
        (["simulate", "textbook-5-doses", "--truth", ".1 .2 1.4 .3 .4"], "not a probability between 0 and 1"),
        (["simulate", "textbook-5-doses", "--truth", ".1 .2"], "1 x 2 probabilities"),
        (["simulate", "textbook-5-doses", "--truth", "a"], "not a row of numbers"),
        (["simulate", "textbook-5-doses", "--trials", "0"], "0 trials cannot be simulated"),
        (["simulate", "textbook-5-doses", "--trials", "-5"], "-5 trials"),
        (["simulate", "textbook-5-doses", "--seed", "-1"], "negative"),
        (["simulate", "textbook-5-doses", "--workers", "0"], "0 workers"),
        (["simulate", "textbook-5-doses", "--scenario", "mtd3"], "did you mean 'mtd-3'"),
        (["simulate", "textbook-5-doses", "--engine", "abacus"], "abacus"),
        (["simulate", "nowhere"], "neither a file nor a preset"),
        (["simulate", "nowhere.yaml"], "cannot be read"),
        (["simulate", "textbook-5-doses", "--design", "magic"], "no design is registered as 'magic'"),
        (["simulate", "textbook-5-doses", "--set", "protocol.cohort_size"], "not PATH=VALUE"),
        (["simulate", "nct05672420", "--design", "boin"], "axis"),
        (["table", "textbook-crm"], "has no table"),
        (["table", "textbook-5-doses", "--set", "protocol.design.reading=R3"], "has no table"),
        (["pathways", "textbook-5-doses", "--cohorts", "-1"], "negative"),
        (["compare", "textbook-5-doses"], "a comparison needs two"),
        (["compare", "textbook-5-doses", "nct07212335"], "different numbers of regimens"),
        (["validate", "nowhere.yaml"], "cannot be read"),
    ],
)
def test_bad_input_gets_one_clear_message_and_exit_code_2(fails, arguments, words):
    import re

    assert re.search(words, fails(*arguments))


def test_help_answers_without_the_heavy_imports():
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom escalation.cli import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0 and 'simulate' in result.output\n"
        "heavy = {'numpy', 'scipy', 'pandas', 'simpy', 'pydantic', 'rich.table'} & set(sys.modules)\n"
        "sys.exit(f'imported for help: {sorted(heavy)}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_same_seed_gives_the_same_numbers_on_one_worker_or_two():
    one = form("simulate", "nct07212335", "--scenario", "T3", "--engine", "calendar", "--trials", "600", "--seed", "9")
    two = form(
        "simulate",
        "nct07212335",
        "--scenario",
        "T3",
        "--engine",
        "calendar",
        "--trials",
        "600",
        "--seed",
        "9",
        "--workers",
        "2",
    )
    assert one == two
