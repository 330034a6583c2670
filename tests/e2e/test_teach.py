"""Teach: a lesson to its summary, a trial by hand to its end, and one class on the same patients."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from escalation.study import load
from escalation.teach.hand_run import hand_run, to_the_end
from escalation.teach.lesson import Choice, Course
from escalation.teach.lessons import LESSONS
from escalation.teach.patients import patients_of
from escalation.teach.predictions import answer, moment_of
from tests.e2e.kit import Served, settled, shot

ACTION = {"escalate": "Escalate", "stay": "Stay", "de_escalate": "De-escalate", "wait": "Wait", "stop": "Stop"}


def test_a_lesson_is_played_to_its_summary_with_the_keyboard(page: Page, served: Served) -> None:
    seed = 6
    page.goto(f"{served.url}/teach?study=textbook-5-doses&seed={seed}")
    settled(page)
    shot(page, "teach-lessons")
    page.get_by_role("button", name="Start lesson 2").press("Enter")
    course = Course(LESSONS["picks-low"], seed)
    for number in range(len(course.lesson.steps)):
        made = course.step(number)
        expect(page.get_by_role("heading", name=f"{number + 1}. {made.title}")).to_be_visible()
        if isinstance(made.task, Choice):
            option = page.get_by_role("radio", name=made.task.answer, exact=True)
            option.focus()
            option.press("Space")
            page.get_by_role("button", name="Check").press("Enter")
        else:
            field = page.get_by_label(made.task.asks)
            field.fill(f"{made.task.right:.1f}")
            field.press("Enter")
        expect(page.get_by_text(re.compile("^Right"))).to_be_visible()
        if number == 1:
            settled(page)
            shot(page, "teach-lesson-answered")
        last = number + 1 == len(course.lesson.steps)
        page.get_by_role("button", name="To the summary" if last else "Next step").press("Enter")
    expect(page.get_by_text(course.lesson.summary[0])).to_be_visible()
    settled(page)
    before = page.url
    shot(page, "teach-summary")
    page.reload()
    expect(page.get_by_text(course.lesson.summary[0])).to_be_visible()
    assert page.url == before


def test_a_trial_is_run_by_hand_to_its_end_and_a_reload_loses_nothing(page: Page, served: Served) -> None:
    study, seed = load("textbook-5-doses"), 2
    patients = patients_of(study, "mtd-3", seed)
    page.goto(f"{served.url}/teach?study={study.id}&show=trial&seed={seed}&scenario=mtd-3")
    settled(page)
    run, predictions = hand_run(study, "", seed), 0
    whole = to_the_end(run, patients)
    while True:
        page.get_by_role("button", name=re.compile("^Roll the dice for (all )?3$")).click()
        expect(page.get_by_text("Predict: what does the rule say next?")).to_be_visible()
        run = hand_run(study, " ".join(whole.text.split()[: len(run.cohorts) + 1]), seed)
        expect(page.get_by_test_id("stCode").first).to_contain_text(run.text)
        reason = study.protocol.rule.reason(run.advice.reasons[0])
        expect(page.get_by_text(reason.paragraph)).to_have_count(0)
        right = answer(run)
        assert right.action is not None
        page.get_by_text(ACTION[right.action.word], exact=True).click()
        if right.action.word == "stop":
            settled(page)
            page.get_by_role("combobox", name="Which level is selected?").click()
            page.get_by_role("option", name=re.compile(f"^level {right.levels[0]}:")).click()
        settled(page)
        page.get_by_role("button", name="Keep my prediction").click()
        expect(page.get_by_text(reason.paragraph)).to_be_visible()
        expect(page.get_by_text(re.compile(r"^You predicted: .*\. Right\."))).to_be_visible()
        predictions += 1
        if run.text == whole.text:
            break
        if moment_of(run)[0] == 6:
            settled(page)
            address = page.url
            page.reload()
            expect(page.get_by_text(reason.paragraph)).to_be_visible()
            assert page.url == address
            shot(page, "teach-trial")
    expect(page.get_by_text(f"{predictions} of {predictions}")).to_be_visible()
    expect(page.get_by_text("The trial has ended.")).to_be_visible()
    page.get_by_text("Show the truth").click()
    expect(page.get_by_text("True MTD", exact=True)).to_be_visible()
    page.get_by_role("button", name="BOIN", exact=True).click()
    expect(page.get_by_text("Patient by patient")).to_be_visible()
    settled(page)
    shot(page, "teach-trial-ended")


def test_the_class_link_gives_two_browsers_the_same_patients(browser: Browser, served: Served) -> None:
    seen, links = [], []
    address = f"{served.url}/teach?study=textbook-5-doses&lesson=by-hand&seed=9&at=6"
    for width in (1400, 400):
        context = browser.new_context(viewport={"width": width, "height": 900})
        page = context.new_page()
        page.goto(address)
        settled(page)
        table = page.get_by_role("table")
        expect(table.get_by_role("row").nth(3)).to_be_visible()
        seen.append(table.inner_text())
        page.get_by_text("Link for the class").click()
        link = page.get_by_text(re.compile("^http.*lesson=by-hand"))
        expect(link).to_be_visible()
        links.append(link.inner_text().replace("\n", ""))
        shot(page, f"teach-class-{width}")
        context.close()
    assert seen[0] == seen[1]
    assert links[0] == links[1]
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(links[0] + "&at=6&large=1")
    settled(page)
    expect(page.get_by_role("table").get_by_role("row").nth(3)).to_be_visible()
    assert page.get_by_role("table").inner_text() == seen[0]
    shot(page, "teach-class-projector")
    context.close()
