"""Lesson 1: the 3+3 by hand."""

from __future__ import annotations

from functools import cache
from math import ceil

from escalation.decision import Action
from escalation.report.wording import where_to
from escalation.study import Study, load
from escalation.teach.hand_run import hand_run, to_the_end
from escalation.teach.lesson import Lesson, Listed, Reasons, Step, Trial, decision, of_options
from escalation.teach.patients import patients_of

STUDY = "textbook-5-doses"
SCENARIO = "mtd-3"
FULL, FEWEST = 6, 18
"""Patients of a full level, and the fewest patients listed on paper."""


@cache
def _study(variant: str = "V1") -> Study:
    return load(STUDY, overrides=[f"protocol.design.variant={variant}"])


def _asked(title: str, text: str, outcomes: str, hint: str, because: str, variant: str = "V1") -> Step:
    study = _study(variant)
    task, run = decision("What happens next?", study, outcomes)
    option = "" if variant == "V1" else f" --set protocol.design.variant={variant}"
    return Step(
        title=title,
        text=text,
        task=task,
        hint=hint,
        because=because,
        study=study,
        shown=(Trial(run),),
        shown_then=(Reasons(run),),
        how="the rule's own decision: exact",
        command=f'escalation decide {STUDY}{option} --outcomes "{outcomes}"',
    )


def clear(seed: int) -> Step:
    """Nobody of three has a DLT."""
    return _asked(
        "Nobody of three",
        "A 3+3 treats three patients at a level and waits until the DLT window of all three is over. **N** stands for "
        "no DLT, **T** for a DLT (a dose-limiting toxicity). `1NNN` reads: three patients at level 1, none with a "
        "DLT.\n\nThe rule knows four things to do: go one level up, treat three more where it is, go down, or stop.",
        "1NNN",
        "None of three had a DLT. Nothing holds the trial back.",
        "With no DLT among three the level passes and the next one is opened.",
    )


def grey_zone(seed: int) -> Step:
    """One of three has a DLT."""
    return _asked(
        "One of three",
        "At level 2 one patient had a DLT. Is that one too many? With three patients nobody can tell: one of three is "
        "about as likely at a DLT probability of 20 % as at 50 %.",
        "1NNN 2NTN",
        "One of three is too much to go up and too little to give the level up.",
        "The second *3* of 3+3: one DLT of three asks for three more patients at the same level.",
    )


def one_of_six(seed: int) -> Step:
    """One of six has a DLT."""
    return _asked(
        "One of six",
        "Three more patients were treated at level 2, and none of them had a DLT. One of six by now.",
        "1NNN 2NTN 2NNN",
        "At most one of six is what the rule accepts.",
        "One of six passes the level, so escalation goes on.",
    )


def too_many(seed: int) -> Step:
    """Two of three have a DLT."""
    return _asked(
        "Two of three",
        "At level 3 two of three patients had a DLT. What does the rule say, and which level does it recommend? "
        "This is the traditional 3+3 (variant V1), which never goes back down.",
        "1NNN 2NTN 2NNN 3TNT",
        "Two DLTs at one level end the climb. The recommended level is one that passed.",
        "Two DLTs close the level. The level below has passed, so it is declared the maximum tolerated dose (MTD). "
        "Note what this MTD is: the level below the one that failed, not an estimate of a DLT probability.",
    )


def the_variant(seed: int) -> Step:
    """The same history under a variant that de-escalates."""
    return _asked(
        "Which 3+3?",
        '"3+3" alone is not a design. Variant V2 goes back down and wants six patients at the level it declares. '
        "Here level 2 passed with its first three patients, and level 3 has failed.",
        "1NNN 2NNN 3TNT",
        "V2 declares nothing on three patients.",
        "V2 fills level 2 up to six before it is declared. V1 would have stopped here and declared level 2 on three "
        "patients. A protocol that only says 3+3 leaves this open.",
        variant="V2",
    )


def a_whole_trial(seed: int) -> Step:
    """The patients of the class, on paper."""
    study = _study()
    grid = study.protocol.grid
    patients = patients_of(study, SCENARIO, seed)
    run = to_the_end(hand_run(study, "", seed), patients)
    shown = max(FEWEST, FULL * ceil(len(run.treated) / FULL))  # a round number: it must not tell where the trial ends
    known = [
        (f"{i + 1:03d}", *("DLT" if patients.letter(i, k) == "T" else "–" for k in range(grid.size)))
        for i in range(shown)
    ]
    options = (*(f"Level {grid.level(k)}" for k in range(grid.size)), "No level")
    right = f"Level {grid.level(run.selected[0])}" if run.selected else "No level"
    return Step(
        title="A whole trial on paper",
        text=f"These are the patients of your class (seed {seed}), in the order they arrive, with what would happen to "
        "each at every level. In a real trial you see one cell of each row: the level the patient was treated "
        "at. Run the traditional 3+3 (V1) with pencil and paper: start at level 1 with 001, 002 and 003. A patient is "
        "used once.",
        task=of_options("Which level do you recommend?", options, right),
        hint="Take three patients at a time, from the top. Read only the column of the level you are at.",
        because=f"The trial is `{run.text}`: it {where_to(Action.STOP, 0, run.selected, grid)}. Other patients, "
        "another answer: three and three are few.",
        study=study,
        shown=(Listed(("patient", *(f"level {grid.level(k)}" for k in range(grid.size))), tuple(known), "– no DLT"),),
        shown_then=(Trial(run), Reasons(run)),
        how=f"patients of seed {seed} under the scenario {SCENARIO}; the decisions are exact",
        command=f'escalation decide {STUDY} --outcomes "{run.text}"',
    )


LESSON = Lesson(
    key="by-hand",
    title="The 3+3 by hand",
    about="Run a 3+3 with pencil and paper, and name the variant.",
    study=STUDY,
    steps=(clear, grey_zone, one_of_six, too_many, the_variant, a_whole_trial),
    summary=(
        "0 of 3: up. 1 of 3: three more. At most 1 of 6: up. 2 or more: the level is closed.",
        "The MTD of a 3+3 is the level below the one that failed, or the highest level when none failed.",
        "V1 declares it with three patients; V2 and V3 go back down and want six. The variant belongs in the protocol.",
        "The rule reads the counts at one level. It estimates nothing, and it remembers nothing from other levels.",
    ),
)
