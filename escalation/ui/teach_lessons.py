"""The lessons on the page: the list, the steps with their tasks, and the summary."""

from __future__ import annotations

from typing import Final

import streamlit as st

from escalation.teach.lesson import GIVEN_UP, Choice, Course, Lesson, Progress, Step
from escalation.teach.lessons import LESSONS
from escalation.ui import blocks, teach_address
from escalation.ui.teach_exhibits import show

SUMMARY: Final = "summary"


def lessons() -> None:
    """The lesson of the address, or the list of them."""
    key = teach_address.value("lesson")
    if key in LESSONS:
        _lesson(LESSONS[key])
        return
    if key:
        st.warning(f"There is no lesson {key[:30]!r}. These are the lessons there are.")
    _list()


@st.cache_resource(max_entries=128, show_spinner="Working out the answers")
def _course(key: str, seed: int) -> Course:
    return Course(LESSONS[key], seed)


def _list() -> None:
    for number, lesson in enumerate(LESSONS.values()):
        if number % 3 == 0:
            columns = st.columns(3)
        with columns[number % 3].container(border=True, height="stretch"):
            st.markdown(f"**{number + 1}. {lesson.title}**")
            st.caption(f"{lesson.about} {len(lesson.steps)} steps.")
            st.button(
                f"Start lesson {number + 1}",
                key=f"teach:start:{lesson.key}",
                on_click=teach_address.put,
                kwargs={"show": "lessons", "lesson": lesson.key, "at": "", "given": ""},
            )


def _lesson(lesson: Lesson) -> None:
    seed = teach_address.seed()
    course = _course(lesson.key, seed)
    count = len(lesson.steps)
    progress = Progress.read(teach_address.value("given"), count)
    at = teach_address.value("at", "1")
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.subheader(lesson.title, anchor=False)
    right.button(
        "All lessons", icon=":material/list:", on_click=teach_address.put, kwargs={"lesson": "", "at": "", "given": ""}
    )
    number = int(at) if at.isdecimal() and len(at) < 4 and 1 <= int(at) <= count else 0 if at == SUMMARY else 1
    _way(course, progress, number)
    if number:
        _step(course, progress, number - 1)
    else:
        _summary(course, progress)
    with st.expander("Link for the class"):
        st.caption("Everybody who opens it has this lesson with the same patients.")
        link = teach_address.class_link(
            **teach_address.study_parameter(lesson.study), show="lessons", lesson=lesson.key, seed=str(seed)
        )
        st.code(link, language=None, wrap_lines=True)


def _way(course: Course, progress: Progress, number: int) -> None:
    """Where the student is, as a row of steps to go to."""
    count = len(course.lesson.steps)
    listed = [*(str(i) for i in range(1, count + 1)), SUMMARY]
    here = str(number) if number else SUMMARY
    done = {str(i + 1) for i in range(count) if progress.attempts[i] and progress.done(i, course.step(i).task)}

    def chosen() -> None:
        teach_address.put(at=str(st.session_state["teach:way"] or here))

    st.segmented_control(
        "Step",
        listed,
        key=teach_address.follow("teach:way", here),
        format_func=lambda each: "Summary" if each == SUMMARY else f"{each} ✓" if each in done else each,
        on_change=chosen,
        required=True,
    )


def _step(course: Course, progress: Progress, position: int) -> None:
    step = course.step(position)
    st.caption(f"{step.study.title} · {step.study.protocol.rule.design.label}")
    for notice in step.study.notices:
        st.caption(f":material/warning: {notice}")
    st.markdown(f"#### {position + 1}. {step.title}")
    with st.container(width=760):
        st.markdown(step.text)
    show(step.shown, f"{course.lesson.key}:{position}")
    done = progress.done(position, step.task)
    with st.container(width=760):
        if done:
            _answered(step, progress, position)
        else:
            _task(course, progress, position, step)
    if done:
        show(step.shown_then, f"{course.lesson.key}:{position}:then")
        if step.command:
            with st.expander("The same on the command line"):
                st.code(step.command, language="shell")
        blocks.trace(step.study, step.how)
        last = position + 1 == len(course.lesson.steps)
        st.button(
            "To the summary" if last else "Next step",
            type="primary",
            icon=":material/arrow_forward:",
            on_click=teach_address.put,
            kwargs={"at": SUMMARY if last else str(position + 2)},
        )


def _task(course: Course, progress: Progress, position: int, step: Step) -> None:
    task, tries = step.task, len(progress.attempts[position])
    key = f"teach:answer:{course.lesson.key}:{course.seed}:{position}:{tries}"

    def check() -> None:
        given = st.session_state.get(key)
        if given is not None:
            text = str(given) if isinstance(task, Choice) else f"{given:.10g}"
            teach_address.put(given=str(progress.given(position, text)))

    with st.form(f"{key}:form"):
        if isinstance(task, Choice):
            st.radio(
                task.asks, range(len(task.options)), index=None, key=key, format_func=lambda i: task.options[int(i)]
            )
        else:
            label = f"{task.asks} ({task.unit})" if task.unit else task.asks
            st.number_input(label, value=None, key=key, placeholder="Your answer", format="%g")
        st.form_submit_button("Check", type="primary", on_click=check)
    if tries:
        _not_yet(step, progress.attempts[position][-1])
    st.button(
        "Show the answer",
        key=f"{key}:show",
        on_click=lambda: teach_address.put(given=str(progress.given(position, GIVEN_UP))),
    )


def _not_yet(step: Step, given: str) -> None:
    task = step.task
    said = task.options[int(given)] if isinstance(task, Choice) and task.reads(given) else given
    st.warning(f"Not yet: {said}. {step.hint}", icon=":material/replay:")


def _answered(step: Step, progress: Progress, position: int) -> None:
    st.markdown(f"**{step.task.asks}**")
    tries = progress.attempts[position]
    if tries[-1] == GIVEN_UP:
        st.info(f"The answer: **{step.task.answer}**", icon=":material/lightbulb:")
    else:
        when = "Right" if len(tries) == 1 else f"Right, at attempt {len(tries)}"
        st.success(f"{when}: **{step.task.answer}**", icon=":material/check:")
    st.markdown(step.because)


def _summary(course: Course, progress: Progress) -> None:
    steps = [course.step(i) for i in range(len(course.lesson.steps))]
    solved = [progress.done(i, step.task) and GIVEN_UP not in progress.attempts[i] for i, step in enumerate(steps)]
    first = sum(progress.first_time(i, step.task) for i, step in enumerate(steps))
    st.markdown("#### Summary")
    blocks.cards(
        [
            ("Solved", f"{sum(solved)} of {len(steps)}", "with the answer not shown"),
            ("At the first attempt", f"{first} of {len(steps)}", f"seed {course.seed}"),
        ]
    )
    with st.container(width=760):
        st.markdown("\n".join(f"- {line}" for line in course.lesson.summary))
    rows = [
        (f"{i + 1}. {step.title}", _how(progress, i, step), step.task.answer if progress.done(i, step.task) else "")
        for i, step in enumerate(steps)
    ]
    blocks.table(("step", "solved", "answer"), rows, text=True)
    listed = list(LESSONS)
    nxt = listed.index(course.lesson.key) + 1
    left, right, _ = st.columns([2, 2, 3])
    left.button(
        "Start this lesson again",
        on_click=teach_address.put,
        kwargs={"at": "", "given": ""},
    )
    if nxt < len(listed):
        right.button(
            f"Next: {LESSONS[listed[nxt]].title}",
            type="primary",
            on_click=teach_address.put,
            kwargs={"lesson": listed[nxt], "at": "", "given": ""},
        )


def _how(progress: Progress, position: int, step: Step) -> str:
    tries = progress.attempts[position]
    if not progress.done(position, step.task):
        return "tried, not solved" if tries else "not tried"
    if GIVEN_UP in tries:
        return "answer shown"
    return "first attempt" if len(tries) == 1 else f"attempt {len(tries)}"
