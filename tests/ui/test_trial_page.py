"""The pages of a conducted trial: what is recorded, what is refused, and what the account log says of reading."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from escalation.conduct import records as r
from escalation.conduct.accounts import AccountEvent, SessionEndedError
from escalation.conduct.criteria import CodeRule, EventRule, JudgementRule, load_criteria
from escalation.ui import signed_in
from tests.conduct import kit
from tests.ui.conduct_screen import Screen


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made: list[kit.Site] = []

    def site(*given: Any, **options: Any) -> kit.Site:
        found = kit.Site(tmp_path, *given, **options)
        monkeypatch.setenv("ESCALATION_DATABASE", str(found.path))
        monkeypatch.setenv("ESCALATION_WORKSPACE", str(tmp_path / "workspace"))
        monkeypatch.setattr(signed_in, "clock", found.clock)
        monkeypatch.setattr(signed_in, "passwords", kit.fast())
        made.append(found)
        return found

    yield site
    for each in made:
        each.close()


def reads(site: kit.Site, name: str) -> int:
    log = site.conduct.accounts.log(account=name, trial=site.trial)
    return sum(each.event == AccountEvent.ACCESSED for each in log)


def test_consent_is_in_the_ledger_before_the_receipt(make: Any) -> None:
    site = make()
    site.record("ingrid", r.Screened(participant="P1"))
    screen = Screen(site, "ingrid", view="participants", participant="P1")
    screen.choose("What happened?", "consent")
    screen.fill(**{"Version of the consent form": "2.1"}).press("Record")
    assert site.entries()[-1].type == "consented"
    assert site.entries()[-1].payload["form_version"] == "2.1"
    assert "Recorded." in screen.text
    assert site.entries()[-1].hash in screen.text
    assert not [each for each in screen.at.button if each.label == "Record"], "the receipt takes the form's place"
    screen.press("Record another")
    assert screen.widget("What happened?").value is None


def test_a_form_is_recorded_once_however_often_it_is_sent(make: Any) -> None:
    from escalation.conduct.service import Conduct
    from escalation.ui.conduct_acts import Attempt, _submit

    site = make()
    service: Conduct = site.conduct
    attempt, token = Attempt("area", site.version), site.token("ingrid")
    calls = []

    def write(values: Any, sent: Attempt) -> Any:
        calls.append(1)
        record = r.Screened(participant="P1")
        return service.record(token, site.trial, record, expected_version=sent.version, key=sent.key)

    for _ in range(2):
        _submit(attempt, (), write)
    assert len(calls) == 1
    again = Attempt("area", attempt.version, key=attempt.key)  # as if the first answer had been lost
    _submit(again, (), write)
    assert again.entries == attempt.entries
    assert sum(entry.type == "screened" for entry in site.entries()) == 1


def test_what_is_missing_is_said_in_words(make: Any) -> None:
    site = make()
    site.record("ingrid", r.Screened(participant="P1"))
    before = site.version
    screen = Screen(site, "ingrid", view="participants", participant="P1")
    screen.choose("What happened?", "consent").press("Record")
    assert site.version == before
    assert "Version of the consent form: is empty" in screen.text
    screen.choose("What happened?", "deviation")
    assert "is empty" not in screen.text


def test_a_gate_refuses_with_its_reasons(make: Any) -> None:
    site = make()
    for code in ("P1", "P2", "P3"):
        site.treat(code)
    site.screen("P4")
    screen = Screen(site, "ingrid", view="participants", participant="P4")
    screen.choose("What happened?", "assign").press("Assign")
    assert "Nothing was recorded: assigned refused" in screen.text
    assert "the cohort is full" in screen.text
    site.screen("P5", verdict="not_eligible")
    never = Screen(site, "ingrid", view="participants", participant="P5")
    assert "Assign" not in never.widget("What happened?").options, "there are no waivers"


def test_a_stale_form_is_refused_and_keeps_what_was_typed(make: Any) -> None:
    site = make()
    site.record("ingrid", r.Screened(participant="P1"))
    screen = Screen(site, "ingrid", view="participants", participant="P1")
    screen.choose("What happened?", "deviation")
    site.record("carlos", r.Deviation(participant="P1", category="visit", description="by another person"))
    screen.fill(Category="dosing", Description="typed before").press("Record")
    assert "others have recorded since you opened this form" in screen.text
    assert "carlos" in screen.text
    assert sum(entry.type == "deviation" for entry in site.entries()) == 1
    screen.press("I have read it; keep what I entered")
    assert screen.widget("Description").value == "typed before"
    screen.press("Record")
    assert site.entries()[-1].payload["description"] == "typed before"


def test_reading_is_logged_once_for_what_was_read(make: Any) -> None:
    site = make()
    before = reads(site, "stefan")
    screen = Screen(site, "stefan")
    assert reads(site, "stefan") == before + 1
    screen.run()
    screen.run()
    assert reads(site, "stefan") == before + 1, "the same page of the same version"
    site.record("ingrid", r.Screened(participant="P1"))
    screen.run()
    assert reads(site, "stefan") == before + 2


def test_a_page_that_refreshes_does_not_keep_its_session_alive(make: Any) -> None:
    site = make()
    token = site.conduct.accounts.sign_in("stefan", kit.PASSWORD).token
    for _ in range(3):
        site.wait(minutes=9)
        assert site.conduct.watched(token, site.trial).version == site.version
    site.wait(minutes=9)
    with pytest.raises(SessionEndedError):
        site.conduct.watched(token, site.trial)
    with pytest.raises(SessionEndedError, match="30 minutes"):
        site.conduct.accounts.authenticate(token)


def test_a_role_sees_why_it_cannot_act(make: Any) -> None:
    site = make()
    site.record("ingrid", r.Screened(participant="P1"))
    screen = Screen(site, "mona", view="participants", participant="P1")
    assert screen.widget("What happened?").options == ["Query"]
    assert "who may not export" not in Screen(site, "mona", view="data").text
    assert "who may not take snapshot" in Screen(site, "maria", view="decision").text
    refused = Screen(site, "admin").text
    assert "who may not read trial" in refused


def test_a_trial_of_somebody_else_is_not_shown(make: Any) -> None:
    site = make()
    site.employ("nora")
    assert "nora has no delegation in T-1" in Screen(site, "nora").text
    assert "There is no trial" in Screen(site, "ingrid", trial="T-9").text


ANSWERS = {
    "sex": "male",
    "childbearing": "no",
    "half_life": 5.0,
    "I-AGE": 54.0,
    "I-DISEASE": "myeloma",
    "I-CYTOPENIA.counts.platelets": 20.0,
    "I-ECOG": 1.0,
    "I-SURVIVAL": 12.0,
    "I-CONTRACEPTION.male": 6.0,
    "I-CONSENT": True,
}


def test_eligibility_is_worked_out_from_the_answers(make: Any) -> None:
    site = make("nct07212335", criteria="nct07212335")
    site.record("ingrid", r.Screened(participant="P1"))
    site.consent("P1")
    screen = Screen(site, "ingrid", view="participants", participant="P1")
    screen.choose("What happened?", "eligibility")
    screen.fill(**{"Source document": "chart 12"})
    questions = load_criteria("nct07212335").questions
    for name, value in ANSWERS.items():
        question = questions[name]
        if isinstance(question.rule, JudgementRule):
            value = "applies" if value else "does not apply"
        screen.fill(**{question.wording: value})
    for name, question in questions.items():
        if name in ANSWERS or not name.startswith("E-"):
            continue
        if isinstance(question.rule, JudgementRule):
            screen.fill(**{question.wording: "does not apply"})
        elif isinstance(question.rule, CodeRule):
            screen.fill(**{question.wording: question.rule.values[0]})
        elif isinstance(question.rule, EventRule):
            screen.fill(**{question.wording: "never"})
    screen.press("Evaluate and record")
    made = site.entries()[-1].payload
    assert made["verdict"] == "incomplete", made["findings"]
    answers = {each["criterion"]: each for each in made["answers"]}
    assert answers["I-AGE"]["value"] == 54.0
    assert answers["I-AGE"]["unit"] == "years"
    assert answers["I-AGE"]["source_document"] == "chart 12"
    assert answers["E-ANTITUMOUR"]["value"] == "never"
    assert answers["E-THROMBOSIS"]["met"] is False
    assert "E-CREA: missing" in made["findings"]
    screen.press("Record another").choose("What happened?", "eligibility")
    assert screen.widget(questions["I-AGE"].wording).value == 54.0, "the answers stand there again"
    assert screen.widget(f"{questions['I-AGE'].wording}: source").value == "chart 12"
    site.wait(minutes=20)
    before = site.version
    screen.press("Evaluate and record")
    assert site.version == before + 1
    again = {each["criterion"]: each for each in site.entries()[-1].payload["answers"]}
    assert again["I-AGE"]["sample_time"][:16] == answers["I-AGE"]["sample_time"][:16], "and keep their time"


def test_a_correction_shows_old_and_new_and_why(make: Any) -> None:
    site = make()
    site.treat("P1")
    infusion = next(entry.seq for entry in site.entries() if entry.type == "infusion_recorded")
    screen = Screen(site, "carlos", view="trail").choose("Part", "Correct a value")
    screen.choose("Entry", infusion).choose("Field", "weight_kg")
    screen.fill(**{"New value": "62.5"}).press("Record correction")
    assert "a correction needs its reason" in screen.text
    screen.fill(Reason="read from the chart again").press("Record correction")
    made = site.entries()[-1]
    assert (made.payload["old"], made.payload["new"]) == (60.0, 62.5)
    assert made.reason == "read from the chart again"
    assert site.person("P1").infusions[1].weight_kg == 62.5
    trail = Screen(site, "carlos", view="trail").text
    assert "read from the chart again" in trail


def test_a_drawn_regimen_is_shown_and_another_sets_the_draw_aside(make: Any) -> None:
    """The screen shows the probabilities and the draw; a draw is kept, or set aside with its reason."""
    grid = kit.study(doses=3, days=((0,), (0, 7)), design={"name": "pipe"})
    site = make(grid, opened=False)
    site.open(draws=r.DrawStream(seed=5))
    site.cohort("P1", "P2", "P3")
    recommendation = site.recommend()
    drawn = site.advice(recommendation)["next"]
    other = {"dose": 2, "frequency": 1} if drawn["frequency"] == 2 else {"dose": 1, "frequency": 2}
    screen = Screen(site, "maria", view="decision")
    assert "Drawn by the service with seed 5, decision 1: 0." in screen.text
    assert "Asking again draws the same" in screen.text
    choices = screen.widget("Regimen").options
    assert choices[0] == "as drawn"
    assert sum("(the design allows it)" in each for each in choices) == 2
    minutes = {
        "Meeting": "SRC 1",
        "Attendance, one person a line": "Maria Tester, chair",
        "What was weighed": "Complete.",
    }
    index = site.study.protocol.grid.index((other["dose"], other["frequency"]))
    screen.fill(**minutes, Regimen=index).press("Record decision")
    assert "why the draw is set aside" in screen.text
    screen.fill(**{"Why the draw is set aside (optional)": kit.LONG_REASON}).press("Record decision")
    assert site.entries()[-1].payload["draw_set_aside"] == kit.LONG_REASON
    after = Screen(site, "maria", view="decision").text
    assert f"set aside: {kit.LONG_REASON}" in after
    assert "4. Signatures: 0 of 1" in after


def test_a_design_that_does_not_draw_asks_nothing_about_draws(make: Any) -> None:
    site = make()
    site.cohort("P1", "P2", "P3")
    site.recommend()
    screen = Screen(site, "maria", view="decision")
    assert "Drawn by the service" not in screen.text
    assert screen.widget("Regimen").options[0] == "as recommended"
    assert not [each for each in screen.at.text_area if "draw is set aside" in each.label]


def test_decision_is_void_when_the_data_change(make: Any) -> None:
    site = make()
    site.cohort("P1", "P2", "P3")
    site.committee(site.recommend())
    screen = Screen(site, "maria", view="decision")
    assert "4. Signatures: 0 of 1" in screen.text
    site.event("P1", grade=3, onset=site.day_zero("P1").isoformat())
    site.propose("P1", onset=site.day_zero("P1").isoformat(), events=("E1",))
    screen.fill(**{"Your password, to sign": kit.PASSWORD}).press("Sign")
    assert not site.state().effective()
    assert screen.widget("Your password, to sign").value == "" if "4. Signatures" in screen.text else True
    assert "are void: the data changed" in Screen(site, "maria", view="decision").text


def test_a_late_dlt_reopens_the_decision_on_every_page(make: Any) -> None:
    site = make()
    site.cohort("P1", "P2", "P3")
    site.decide()
    onset = site.day_zero("P1").isoformat()
    site.propose("P1", onset=onset)
    site.adjudicate("P1", "dlt")
    assert "is contradicted by what is known now of P1" in Screen(site, "ingrid").text
    assert "the committee must meet again before anybody is assigned" in Screen(site, "ingrid", view="decision").text


def test_an_import_with_faults_is_refused_whole(make: Any) -> None:
    from escalation.conduct.import_columns import COLUMNS

    site = make()
    screen = Screen(site, "carlos", view="data").choose("Part", "Import")
    assert screen.widget("What the file holds").options[0] == next(iter(COLUMNS))
    screen.at.file_uploader[0].upload("people.csv", b"participant,form_version\nP 1,1.0\nP2,\n", "text/csv")
    screen.run()
    assert "Nothing can be imported from this file" in screen.text
    assert site.entries()[-1].type == "trial_opened"
    good = b"participant,form_version,consented_at\nP7,1.0,2026-01-05T08:00\n"
    screen.at.file_uploader[0].upload("people.csv", good, "text/csv")
    screen.run().press("Import")
    assert [entry.type for entry in site.entries()[-2:]] == ["screened", "consented"]
    assert "Recorded." in screen.text


def test_exports_are_made_when_asked_for_and_logged(make: Any) -> None:
    from escalation.conduct.backup import check_dump
    from escalation.ui.conduct_desk import Desk
    from escalation.ui.conduct_files import FILES

    site = make()
    site.treat("P1")
    token = site.token("ingrid")
    user = site.conduct.accounts.authenticate(token)
    desk = Desk.of(site.conduct, token, user, site.trial, site.conduct.state(token, site.trial))
    for _, _, _, made, _ in FILES.values():
        assert len(made(desk)) > 200
    assert check_dump(FILES["dump"][3](desk).decode(), site.conduct.ledger.head(site.trial)).ok
    exported = [e for e in site.conduct.accounts.log(account="ingrid") if e.permission == "export"]
    assert len(exported) == len(FILES) + 1
    screen = Screen(site, "carlos", view="data").choose("Part", "Exports")
    assert "who may not export" in screen.text


def test_verification_tells_the_head_hash(make: Any) -> None:
    site = make()
    screen = Screen(site, "mona", view="data").choose("Part", "Verify").press("Verify now")
    assert f"{site.version} entries verified" in screen.text
    assert site.entries()[-1].hash in screen.text


def test_a_query_is_raised_answered_and_closed(make: Any) -> None:
    site = make()
    site.record("ingrid", r.Screened(participant="P1"))
    screen = Screen(site, "stefan", view="trail").choose("Part", "Queries").choose("What to do", "raise")
    screen.fill(Question="Is the code right?").press("Record")
    assert site.state().queries["Q1"].status == "open"
    answer = Screen(site, "carlos", view="trail").choose("Part", "Queries").choose("What to do", "answer")
    answer.fill(Answer="yes").press("Record")
    close = Screen(site, "stefan", view="trail").choose("Part", "Queries").choose("What to do", "close")
    close.press("Record")
    assert site.state().queries["Q1"].status == "closed"


def test_the_serious_event_clock_leads_the_day(make: Any) -> None:
    site = make()
    site.treat("P1")
    site.event("P1", serious=True, serious_because=("hospitalisation",), aware_at=site.clock.moment)
    site.wait(hours=25)
    text = Screen(site, "ingrid").text
    first = text.index("serious event not reported, LATE")
    assert first < text.index("grade 3, probable")


def test_an_hour_that_happens_twice_can_be_told(make: Any) -> None:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from escalation.ui.conduct_fields import at_site

    zone, now = ZoneInfo("Europe/Berlin"), datetime(2026, 10, 26, tzinfo=ZoneInfo("UTC"))
    first = at_site(datetime(2026, 10, 25, 2, 30), zone, now)
    second = at_site(datetime(2026, 10, 25, 2, 30), zone, now, second=True)
    assert second.utcoffset() == timedelta(hours=1)
    assert first.utcoffset() == timedelta(hours=2)


def test_the_figures_tell_the_trial_as_it_was(make: Any) -> None:
    from escalation.decision import Action
    from escalation.ui.conduct_figures import followed, taken

    site = make()
    site.cohort("P1", "P2", "P3", dlts=("P2",))
    site.decide()
    site.treat("P4")
    people = followed(site.state())
    assert [(each.participant, each.outcome, each.cohort) for each in people] == [
        ("P1", "complete", 1),
        ("P2", "dlt", 1),
        ("P3", "complete", 1),
        ("P4", "pending", 2),
    ]
    assert people[3].outcome_day is None
    assert people[0].window_end == people[0].first + 28
    assert [each.action for each in taken(site.state())] == [Action.STAY]
    assert "P2 at level 1: dlt" in str(Screen(site, "ingrid").at.get("vega_lite_chart")[0].proto)


def test_a_receipt_says_what_was_signed(make: Any) -> None:
    site = make()
    site.cohort("P1", "P2", "P3")
    committee = site.committee(site.recommend())
    screen = Screen(site, "maria", view="decision")
    screen.fill(**{"Your password, to sign": kit.PASSWORD}).press("Sign")
    assert site.state().decisions[committee].effective is not None
    assert "signed: Maria Tester (committee member)" in screen.text
    assert "in effect since entry" in "".join(each.label for each in screen.at.expander)


def test_another_person_in_the_same_tab_does_not_find_the_form_of_the_first(make: Any) -> None:
    site = make()
    site.record("ingrid", r.Screened(participant="P1"))
    screen = Screen(site, "ingrid", view="participants", participant="P1")
    screen.choose("What happened?", "deviation")
    screen.fill(Category="dosing", Description="typed by the first").press("Record")
    assert "Recorded." in screen.text
    screen.at.session_state["conduct_token"] = site.token("carlos")
    screen.run()
    assert "Recorded." not in screen.text


def test_what_people_typed_is_never_read_as_markup(make: Any) -> None:
    hostile = "![seen](http://elsewhere.example/pixel) **bold** <b>html</b>"
    site = make()
    site.treat("P1")
    values = {"participant": "P1", "adjudication": "A1", "criterion": hostile}
    site.record("ingrid", r.DltProposed(**values, onset=site.day_zero("P1").isoformat()))
    for view in ("adjudication", "participants", "trail", "dashboard", "data"):
        screen = Screen(site, "ingrid", view=view, participant="P1" if view == "participants" else "")
        for kind in ("markdown", "caption", "error", "warning", "info", "success"):
            assert not [each.value for each in getattr(screen.at, kind) if "![seen]" in str(each.value)]
        assert not [each for each in screen.at.get("html") if "<b>html</b>" in str(each.proto.body)]
    assert hostile in Screen(site, "ingrid", view="adjudication").text


def test_the_head_shown_is_that_of_the_version_shown(make: Any) -> None:
    from escalation.conduct.state import conduct_state
    from escalation.ui.conduct_desk import Desk

    site = make()
    token = site.token("ingrid")
    state = conduct_state(site.entries())
    shown = site.entries()[-1]
    site.record("ingrid", r.Screened(participant="P1"))
    desk = Desk.of(site.conduct, token, site.conduct.accounts.authenticate(token), site.trial, state)
    assert (desk.head.seq, desk.head.hash) == (shown.seq, shown.hash)
