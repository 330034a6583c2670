"""The report says the numbers of the JSON form, loads nothing from elsewhere, and lets no text become code."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from escalation.cli import app
from escalation.compare import compare
from escalation.report.document import comparison_report, simulation_report
from escalation.report.forms import comparison_form, simulation_form
from escalation.safe_text import ExportError
from escalation.simulate import simulate
from escalation.study import load, validate

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)> =1+1'


class Read(HTMLParser):
    """Numbers by scenario and measure, the tags used, and everything that is an address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scenario, self.measure, self.place = "", "", ""
        self.said: dict[tuple[str, str], list[str]] = {}
        self.small: dict[tuple[str, str], list[str]] = {}
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.add(tag)
        self.addresses += [found[key] for key in ("src", "href", "xlink:href", "data", "action") if found.get(key)]
        self.handlers += [key for key in found if key.startswith("on")]
        self.scenario = found.get("data-scenario", self.scenario)
        if tag == "tr":
            self.measure = found.get("data-measure", "")
            self.rows.setdefault(self.scenario, []).append([])
        self.place = tag

    def handle_data(self, data):
        if self.place == "td" and data.strip():
            self.said.setdefault((self.scenario, self.measure), []).append(data.strip())
        if self.place == "small" and data.strip():
            self.small.setdefault((self.scenario, self.measure), []).append(data.strip())
        if self.place in ("td", "th") and data.strip() and self.rows.get(self.scenario):
            self.rows[self.scenario][-1].append(data.strip())

    def handle_endtag(self, tag):
        self.place = ""


def value_at(form, path: str):
    """A number of the JSON form by the key of its line; quantile keys hold a point themselves."""
    if ".quantiles." in path:
        name, q = path.split(".quantiles.")
        return form[name]["quantiles"][q]
    if path.startswith("stop_reasons."):
        return form["stop_reasons"][path.removeprefix("stop_reasons.")]
    if "." in path:
        name, key = path.split(".")
        return form[name][key]
    return form[path] if path == "no_selection" else form["measures"][path]


@pytest.mark.parametrize(("preset", "engine"), [("nct07212335", "calendar"), ("textbook-grid-3x3", "exact")])
def test_every_number_is_the_one_of_the_json_form(preset, engine):
    study = load(preset)
    names = [each.name for each in study.scenarios[:2]]
    simulation = simulate(study, scenarios=names, engine=engine, trials=60, seed=2)
    form, read = simulation_form(simulation), Read(simulation_report(simulation))
    for scenario in form["scenarios"]:
        told = {key: said for (name, key), said in read.said.items() if name == scenario["name"] and key}
        expected = {f"stop_reasons.{code}" for code in scenario["stop_reasons"]} | set(scenario["measures"])
        assert expected <= set(told)
        for key, said in told.items():
            value = value_at(scenario, key)
            match = re.fullmatch(r"(-?[\d.]+)(?: \((-?[\d.]+)\))?", said[0])
            if value is None:
                assert said[0] == "not defined"
                continue
            digits = len(match[1].partition(".")[2])
            assert match[1] == f"{value:.{digits}f}"
            assert (match[2] is None) == (engine == "exact")
            if engine != "exact":
                error = value_at(scenario["mcse"], key)
                assert match[2] == (f"{error:.{digits}f}")
        flat = [number for row in scenario["selection"] for number in row]
        shown = [row for row in read.rows[scenario["name"]] if len(row) == 6]
        assert [row[3].split()[0] for row in shown[1:]] == [f"{share:.4f}" for share in flat]


def test_a_comparison_says_the_numbers_of_its_json_form():
    study = load("textbook-boin")
    comparison = compare([study, load("textbook-boin", design="crm")], trials=80, seed=2)
    form, read = comparison_form(comparison), Read(comparison_report(comparison))
    for scenario in form["scenarios"]:
        for name, gap in scenario["differences"][0]["measures"].items():
            values = [each[name] for each in scenario["results"]]
            said = read.said[scenario["name"], name]
            assert [text.split()[0] for text in said] == [f"{each['value']:.4f}" for each in values]
            mark = "" if gap["distinguished"] else "~"
            assert read.small[scenario["name"], name] == [f"{mark}{gap['difference']:+.4f} ({gap['mcse']:.4f})"]


def hostile_study():
    data = load("textbook-grid-3x3").as_dict()
    data |= {"title": HOSTILE, "description": HOSTILE}
    data["scenarios"] = [data["scenarios"][0] | {"name": HOSTILE, "description": HOSTILE}]
    data["protocol"]["dlt_definition"] = HOSTILE
    data["protocol"]["regimens"]["doses"][0]["label"] = HOSTILE
    return validate(data)


def test_a_hostile_text_stays_text():
    text = simulation_report(simulate(hostile_study(), engine="calendar", trials=20), command=HOSTILE)
    read = Read(text)
    assert "script" not in read.tags
    assert "img" not in read.tags
    assert read.handlers == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_nothing_is_loaded_from_elsewhere():
    study = load("nct07212335")
    simulation = simulate(study, scenarios=["T1", "T3"], engine="calendar", trials=20)
    comparison = compare([study, study], scenarios=["T1"], trials=20)
    text = simulation_report(simulation, comparison=comparison)
    read = Read(text)
    assert all(address.startswith("#") for address in read.addresses), read.addresses
    assert not {"link", "script", "iframe", "object", "embed", "img", "base", "form"} & read.tags
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    assert "default-src 'none'" in text


def test_names_inside_figures_are_their_own():
    study = load("textbook-grid-3x3")
    text = simulation_report(simulate(study, scenarios=[study.scenarios[0].name], engine="exact"))
    names = re.findall(r' id="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(names)


def test_what_must_be_said_is_said():
    study = load("nct05672420")
    simulation = simulate(study, scenarios=["s1"])
    text = simulation_report(simulation, command="escalation report nct05672420 --scenario s1")
    for said in (*study.notices, study.hash, "no Monte Carlo error", "escalation report nct05672420", "placeholder"):
        assert said in text
    assert simulation_report(simulation) == simulation_report(simulation)


def test_the_command_writes_the_report_and_replaces_none(tmp_path):
    out = tmp_path / "report.html"
    asked = ["report", "textbook-boin", "--out", str(out), "--scenario", "mtd-3", "--trials", "50", "--beside", "crm"]
    scenario = load("textbook-boin").scenarios[0].name
    asked[asked.index("mtd-3")] = scenario
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    text = out.read_text(encoding="utf-8")
    form = simulation_form(simulate(load("textbook-boin"), scenarios=[scenario]))
    assert f"{form['scenarios'][0]['measures']['correct_selection']:.4f}" in text
    assert "Designs compared" in text
    again = CliRunner().invoke(app, asked)
    assert again.exit_code != 0
    assert "exists" in str(again.exception)
    assert out.read_text(encoding="utf-8") == text


def test_a_place_that_cannot_be_written_is_refused_in_words(tmp_path):
    out = tmp_path / "nowhere" / "report.html"
    result = CliRunner().invoke(app, ["report", "textbook-boin", "--out", str(out), "--trials", "5"])
    assert isinstance(result.exception, ExportError)
    assert "choose another place" in str(result.exception)
