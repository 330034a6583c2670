"""Files carry the numbers of the engines with an error beside each, and no text in them can calculate."""

from __future__ import annotations

import csv
import io
import json
import zipfile

import openpyxl
import pytest

from escalation.compare import compare
from escalation.report.forms import simulation_form
from escalation.report.frames import (
    comparison_frames,
    csv_archive,
    excel,
    json_text,
    records_archive,
    simulation_frames,
)
from escalation.simulate import simulate, write_records
from escalation.study import load, validate


@pytest.fixture(scope="module")
def simulation():
    data = load("textbook-frequency").as_dict()
    data["title"] = "=HYPERLINK(1)"
    data["scenarios"] = [data["scenarios"][0] | {"name": "@SUM(A1)"}, data["scenarios"][1] | {"name": "-2+3"}]
    return simulate(validate(data), engine="calendar", trials=25, records=True)


def files(archive: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name).decode("utf-8-sig") for name in opened.namelist()}


def test_the_tables_hold_the_numbers_of_the_json_form(simulation):
    form, frames = simulation_form(simulation), simulation_frames(simulation)
    for scenario in form["scenarios"]:
        regimens = frames["regimens"].query("scenario == @scenario['name']")
        assert regimens["selection"].tolist() == [p for row in scenario["selection"] for p in row]
        assert regimens["patients_mcse"].tolist() == [e for row in scenario["mcse"]["patients"] for e in row]
        measures = frames["measures"].query("scenario == @scenario['name']").set_index("measure")
        for name, value in scenario["measures"].items():
            if value is not None:
                assert measures.loc[name, "value"] == value
                assert measures.loc[name, "mcse"] == scenario["mcse"]["measures"][name]
        assert measures.loc["duration_days.mean", "value"] == scenario["duration_days"]["mean"]
        assert measures.loc["calendar.turned_away", "value"] == scenario["calendar"]["turned_away"]
    assert json.loads(json_text(simulation)) == json.loads(json.dumps(form))


def test_exact_numbers_say_so():
    frames = simulation_frames(simulate(load("textbook-5-doses")))
    assert set(frames["measures"]["mcse"]) == {"exact"}
    assert set(frames["regimens"]["selection_mcse"]) == {"exact"}


def test_no_cell_of_any_file_can_calculate(simulation, tmp_path):
    texts = files(csv_archive(simulation)) | files(records_archive(simulation))
    write_records(simulation, tmp_path / "records")
    texts |= {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "records").iterdir()}
    assert {"cover.csv", "measures.csv", "trials-1.csv", "trials.csv", "participants.csv"} <= set(texts)
    for name, text in texts.items():
        for row in csv.reader(io.StringIO(text)):
            for cell in row:
                assert cell[:1] not in "=@+" or not cell, (name, cell)
                assert cell[:1] != "-" or float(cell) <= 0, (name, cell)
    assert "'@SUM(A1)" in texts["trials.csv"]
    book = openpyxl.load_workbook(io.BytesIO(excel(simulation)))
    assert book.sheetnames == ["cover", "regimens", "measures"]
    assert all(cell.data_type != "f" for sheet in book for row in sheet.iter_rows() for cell in row)
    assert book["regimens"]["A2"].value == "'@SUM(A1)"


def test_the_records_are_the_trials(simulation):
    rows = list(csv.DictReader(io.StringIO(files(records_archive(simulation))["trials-1.csv"])))
    result = simulation.scenarios[0]
    assert [float(row["duration_days"]) for row in rows] == result.rows.calendar.duration_days.tolist()
    assert [int(row["patients"]) for row in rows] == result.rows.total.tolist()


def test_a_comparison_says_of_every_difference_whether_it_is_distinguished():
    comparison = compare([load("textbook-boin"), load("textbook-boin", design="crm")], trials=60)
    frame = comparison_frames(comparison)["measures"]
    assert frame.query("entry == 1")["minus_first"].isna().all()
    second = frame.query("entry == 2").set_index(["scenario", "measure"])
    for scenario in comparison.scenarios:
        for name, found in scenario.differences[0].items():
            row = second.loc[(scenario.name, name)]
            assert (row["minus_first"], row["minus_first_mcse"]) == (found.difference, found.mcse)
            assert row["distinguished"] == found.distinguished


def test_the_same_result_gives_the_same_file(simulation):
    assert csv_archive(simulation) == csv_archive(simulation)
