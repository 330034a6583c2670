"""Uploaded decision tables: read, checked, and decided by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from designs.decision_table import UploadedTable, UploadedTableParameters
from designs.mtpi2 import Mtpi2, Mtpi2Parameters
from designs.table_text import read_columns
from escalation.cli import app
from escalation.decision import Action
from escalation.design import Setting
from escalation.errors import DesignError, StudyError
from escalation.exact import compile_graph
from escalation.numerics import NEVER
from escalation.regimens import RegimenGrid
from escalation.study import load
from escalation.tally import Tally

SMALL = "DLTs,3,6\n0,E,E\n1,S,E\n2,D,S\n3,DU,D\n4,,DU\n5,,DU\n6,,DU\n"
GRID = RegimenGrid(doses=(1, 2, 3), schedules=((0,),))


def design_of(table: str, cohort_size: int = 3, max_patients: int | None = 30, **parameters: Any) -> UploadedTable:
    return UploadedTable(
        UploadedTableParameters(table=table, **parameters), Setting(GRID, cohort_size, 0, max_patients)
    )


def written(bound: Any, sizes: range, separator: str = ",") -> str:
    """A table of boundaries in the form people upload."""

    def cell(dlt: int, n: int) -> str:
        if dlt > n:
            return ""
        if dlt >= bound.eliminate[n]:
            return "DU"
        return "E" if dlt <= bound.escalate[n] else "D" if dlt >= bound.de_escalate[n] else "S"

    rows = [["DLTs", *map(str, sizes)]]
    rows += [[str(dlt), *(cell(dlt, n) for n in sizes)] for dlt in range(sizes[-1] + 1)]
    return "\n".join(separator.join(row) for row in rows)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("target", [0.2, 0.25, 0.3])
def test_a_table_written_from_mtpi2_decides_as_mtpi2(target, separator):
    mtpi2 = Mtpi2(Mtpi2Parameters(target=target), Setting(GRID, 3, 0, 30))
    design = design_of(written(mtpi2.boundaries, range(1, 31), separator), target=target)
    assert design.table() == mtpi2.table()
    rng = np.random.default_rng(7)
    n = rng.integers(0, 28, (500, 3))
    tally = Tally.of(n=n, dlt=rng.integers(0, n + 1), current=rng.integers(0, 3, 500))
    theirs, found = mtpi2.decide(tally), design.decide(tally)
    assert np.array_equal(found.regimen, theirs.regimen)
    assert np.array_equal(found.action, theirs.action)


def test_a_table_in_cohorts_of_three_has_the_characteristics_of_the_full_one(study_of):
    """Exactly, with BOIN's selection: nobody ever stands between two columns."""
    truth = [0.1, 0.25, 0.4]
    boin = study_of({"name": "boin"}, truth, max_patients=18)
    bound = boin.protocol.rule.design.boundaries
    table = written(bound, range(3, 19, 3))
    # the protocol's maximum comes after the design's word, so the table's end is the larger of the two
    ours = study_of({"name": "decision_table", "table": table}, truth, max_patients=18)
    graphs = [compile_graph(study.protocol.rule) for study in (boin, ours)]
    shares = [graph.probabilities(truth)[0] @ graph.selected for graph in graphs]
    patients = [graph.probabilities(truth)[0] @ graph.n for graph in graphs]
    assert np.allclose(shares[0], shares[1], rtol=0, atol=1e-12)
    assert np.allclose(patients[0], patients[1], rtol=0, atol=1e-12)


def test_between_and_beyond_the_columns_it_is_read_on_the_safe_side():
    bound = UploadedTable.tabulate(UploadedTableParameters(table=SMALL), 9)
    assert bound.escalate.tolist() == [-1, -1, -1, 0, 0, 0, 1, 1, 1, 1]
    assert bound.de_escalate.tolist() == [NEVER, 2, 2, 2, 2, 2, 3, 3, 3, 3]
    assert bound.eliminate.tolist() == [NEVER, NEVER, NEVER, 3, 3, 3, 4, 4, 4, 4]


@pytest.mark.parametrize(
    ("n", "dlt", "current", "code", "action", "there"),
    [
        ([3, 3, 0], [0, 0, 0], 1, "decision_table.escalate", Action.ESCALATE, 2),
        ([3, 3, 0], [0, 1, 0], 1, "decision_table.stay", Action.STAY, 1),
        ([3, 3, 0], [0, 2, 0], 1, "decision_table.de_escalate", Action.DE_ESCALATE, 0),
        ([3, 3, 0], [0, 3, 0], 1, "decision_table.eliminated", Action.DE_ESCALATE, 0),
        ([3, 6, 0], [0, 2, 0], 1, "decision_table.complete", Action.STOP, 1),
        ([6, 6, 0], [1, 3, 0], 1, "decision_table.complete", Action.STOP, 1),
        ([6, 3, 0], [1, 3, 0], 0, "decision_table.complete", Action.STOP, 0),
        ([3, 0, 0], [3, 0, 0], 0, "decision_table.lowest_eliminated", Action.STOP, 0),
        ([6, 0, 0], [4, 0, 0], 0, "decision_table.lowest_eliminated", Action.STOP, 0),
        ([9, 0, 0], [4, 0, 0], 0, "decision_table.lowest_eliminated", Action.STOP, 0),
    ],
)
def test_decision(n, dlt, current, code, action, there):
    design = design_of(SMALL)
    decisions = design.decide(Tally.of(n=[n], dlt=[dlt], current=[current]))
    assert design.reasons[decisions.reason[0]].code == code
    assert (decisions.action[0], decisions.regimen[0]) == (action, there)


def test_the_posterior_rule_can_be_added():
    table = "DLTs,3\n0,E\n1,S\n2,D\n3,D"
    tally = Tally.of(n=[[3, 3, 0]], dlt=[[0, 3, 0]], current=[1])
    assert not design_of(table).eliminated(tally).any()
    assert design_of(table, elimination_certainty=0.95).eliminated(tally)[0].tolist() == [False, True, True]


FAULTS = [
    ("", "the decision table is empty"),
    ("table.csv", "a single line, 'table.csv'"),
    ("DLTs\n0\n", "the header names no number evaluable"),
    ("DLTs,1,x\n0,E,E", r"header, column 3: 'x' is not a number evaluable from 1 to 500"),
    ("DLTs,1,3\n0,E,E", r"header, column 3: 3 evaluable where 2 is due"),
    ("DLTs,3,9\n0,E,E", r"header, column 3: 9 evaluable where 6 is due"),
    ("DLTs,1\n1,E\n", r"row 0: it begins with '1'; rows are 0, 1, 2"),
    ("DLTs,1\n0,E\n1,X", r"row 1, column 1: 'X' is none of E, S, D, DU"),
    ("DLTs,1,2\n0,E,E\n1,D,S\n2,D,D", r"row 2, column 1: 'D' for more DLTs than participants"),
    ("DLTs,1\n0,E,E\n1,D", r"row 0: it has more cells than the header has columns"),
    ("DLTs,1,2\n0,E,E\n1,D,S\n", r"row 2, column 2: no decision for 2 DLTs among 2"),
    ("DLTs,1,2\n0,E,\n1,D,S\n2,,D", r"row 0, column 2: no decision for 0 DLTs among 2"),
    ("DLTs,3\n0,S\n1,E\n2,D\n3,D", r"row 1, column 3 is E after S in row 0"),
    ("DLTs,1,2\n0,S,S\n1,S,D\n2,,D", r"stricter: row 1, column 2 is D and column 1 is S"),
    ("DLTs,1,2\n0,E,E\n1,D,S\n2,,S", r"milder: row 2, column 2 is S after row 1, column 1 D"),
    (
        "DLTs,3,6\n0,E,E\n1,S,E\n2,D,S\n3,DU,S\n4,,S\n5,,S\n6,,DU",
        r"3 more participants with a DLT .* row 5, column 6 is S",
    ),
]


@pytest.mark.parametrize(("table", "says"), FAULTS, ids=range(len(FAULTS)))
def test_a_faulty_table_is_refused_by_row_and_column(table, says):
    with pytest.raises(ValueError, match=says):
        read_columns(table)


def test_many_faults_are_listed_and_counted():
    with pytest.raises(ValueError, match="and 1 more") as raised:
        read_columns("DLTs,3,6\n0,E,E\n1,S\n2,D\n3,DU\n")
    assert str(raised.value).count("no decision") == 5


def test_columns_must_fit_the_cohorts():
    with pytest.raises(DesignError, match="multiples of 3, and cohorts have 2"):
        design_of(SMALL, cohort_size=2)
    with pytest.raises(DesignError, match="the last column is 2"):
        design_of("DLTs,1,2\n0,E,E\n1,S,S\n2,,D", cohort_size=3)
    assert design_of("DLTs,1,2,3\n0,E,E,E\n1,S,S,S\n2,,D,D\n3,,,DU").table().n == (1, 2, 3)


@given(st.text(alphabet='DLTsESU0123,;\n\t -"\0é²', max_size=80))
def test_any_text_is_read_or_refused_in_words(text):
    def read_or_refused() -> bool:
        try:
            columns = read_columns(text)
        except ValueError as error:
            return bool(str(error))
        return all(len(cells) == n + 1 for n, cells in columns.items())

    assert read_or_refused()


def study_text(table: str) -> str:
    study = {
        "schema": 1,
        "id": "own-table",
        "title": "A study with its own table",
        "protocol": {
            "regimens": {"doses": [1, 2, 3]},
            "design": {"name": "decision_table", "table": table},
            "max_patients": 12,
        },
        "scenarios": [{"name": "assumed", "truth": [0.1, 0.2, 0.3]}],
    }
    return json.dumps(study)


def test_a_csv_file_beside_the_study_is_read_into_it(tmp_path: Path):
    (tmp_path / "table.csv").write_text("\ufeff" + SMALL, encoding="utf-8")
    (tmp_path / "named.json").write_text(study_text("table.csv"))
    (tmp_path / "inline.json").write_text(study_text(SMALL))
    named, inline = load(str(tmp_path / "named.json")), load(str(tmp_path / "inline.json"))
    assert named.hash == inline.hash
    (tmp_path / "table.csv").write_text(SMALL.replace("1,S,E", "1,S,S"))
    assert load(str(tmp_path / "named.json")).hash != inline.hash


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    (tmp_path / "study.json").write_text(study_text("missing.csv"))
    with pytest.raises(StudyError, match=r"protocol\.design\.table: the file 'missing\.csv' cannot be read"):
        load(str(tmp_path / "study.json"))


@pytest.mark.parametrize("design", ["boin", "keyboard", "tpi", "mtpi", "mtpi2", "i3plus3", "ccd"])
def test_a_printed_table_is_read_back(design):
    """What escalation table --csv prints of a design decides as the design does, DU cells included."""
    arguments = ["table", "textbook-5-doses", "--design", design]
    text = CliRunner().invoke(app, [*arguments, "--csv"]).stdout
    theirs = load("textbook-5-doses", design=design).protocol.rule.design.table()
    assert UploadedTable(UploadedTableParameters(table=text), Setting(GRID, 3, 0, 30)).table() == theirs


def test_the_command_line_prints_the_table_and_the_faults(tmp_path: Path):
    (tmp_path / "study.json").write_text(study_text(SMALL))
    printed = CliRunner().invoke(app, ["table", str(tmp_path / "study.json"), "--json"])
    assert json.loads(printed.stdout)["eliminate_if_at_least"] == [None, None, 3, 3, 3, 4]
    (tmp_path / "study.json").write_text(study_text(SMALL.replace("2,D,S", "2,D,Q")))
    refused = CliRunner().invoke(app, ["validate", str(tmp_path / "study.json"), "--json"])
    assert refused.exit_code == 2
    (fault,) = json.loads(refused.stdout)["faults"]
    assert (fault["path"], fault["problem"]) == (
        "protocol.design.table",
        "row 2, column 6: 'Q' is none of E, S, D, DU",
    )
