"""3+3 on the dose-by-frequency grid: two stages, paths and contours against recursion in plain Python."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.three_plus_three_path import zigzag
from escalation.advice import Advisor
from escalation.branching import Front, branch, decide, onward
from escalation.decision import Action
from escalation.errors import StudyError
from escalation.exact import compile_graph
from escalation.outcomes import replay
from escalation.regimens import Regimen, RegimenGrid

Counts = tuple[int, ...]
End = tuple[Counts, Counts, int | None, float]

VARIANTS = {"V1": (False, False), "V2": (True, False), "V3": (True, True)}
SURFACES = {
    "s1": [[0.05, 0.10, 0.15, 0.30, 0.45], [0.10, 0.15, 0.30, 0.45, 0.55], [0.15, 0.30, 0.45, 0.50, 0.60]],
    "s3": [[0.02, 0.07, 0.10, 0.15, 0.30], [0.07, 0.10, 0.15, 0.30, 0.45], [0.10, 0.15, 0.30, 0.45, 0.55]],
    "s4": [[0.30, 0.45, 0.60, 0.70, 0.80], [0.45, 0.55, 0.65, 0.75, 0.85], [0.50, 0.60, 0.70, 0.80, 0.90]],
}
SMALL = [[0.08, 0.21, 0.34], [0.17, 0.33, 0.52]]
"""Two frequencies by three doses."""
TALL = [[0.1, 0.24], [0.19, 0.36], [0.31, 0.5]]
"""Three frequencies by two doses."""


# the reference: cohorts of three, one after the other -------------------------------------------


def treat(r: int, p: list[float], n: Counts, y: Counts, chance: float) -> Iterator[tuple[Counts, Counts, float]]:
    """Three more participants at a regimen."""
    for t in range(4):
        more_n, more_y = list(n), list(y)
        more_n[r] += 3
        more_y[r] += t
        yield tuple(more_n), tuple(more_y), chance * comb(3, t) * p[r] ** t * (1 - p[r]) ** (3 - t)


def ladder(
    p: list[float],
    rungs: list[int],
    at: int,
    n: Counts,
    y: Counts,
    chance: float,
    *,
    deescalate: bool,
    six_at_top: bool,
    closed: frozenset[int] = frozenset(),
) -> Iterator[End]:
    """Every end of a 3+3 on a ladder of regimens, from its first cohort at rung ``at``."""

    def visit(i: int, n: Counts, y: Counts, q: float) -> Iterator[End]:
        r = rungs[i]
        for n3, y3, q3 in treat(r, p, n, y, q):
            if y3[r] == 0:
                yield from passed(i, n3, y3, q3)
            elif y3[r] > 1:
                yield from failed(i, n3, y3, q3)
            else:
                for n6, y6, q6 in treat(r, p, n3, y3, q3):
                    yield from (passed if y6[r] <= 1 else failed)(i, n6, y6, q6)

    def passed(i: int, n: Counts, y: Counts, q: float) -> Iterator[End]:
        r = rungs[i]
        if i + 1 < len(rungs):
            yield from back(i, n, y, q) if rungs[i + 1] in closed else visit(i + 1, n, y, q)
        elif six_at_top and n[r] < 6:
            for n6, y6, q6 in treat(r, p, n, y, q):
                yield from (passed if y6[r] <= 1 else failed)(i, n6, y6, q6)
        else:
            yield n, y, r, q

    def failed(i: int, n: Counts, y: Counts, q: float) -> Iterator[End]:
        if i == 0 or (not deescalate and n[rungs[i - 1]] == 0):
            yield n, y, None, q
        else:
            yield from back(i - 1, n, y, q)

    def back(i: int, n: Counts, y: Counts, q: float) -> Iterator[End]:
        """The rung above cannot be used."""
        r = rungs[i]
        if not deescalate or n[r] == 6:
            yield n, y, r, q
            return
        for more_n, more_y, more_q in treat(r, p, n, y, q):
            yield from failed(i, more_n, more_y, more_q) if more_y[r] > 1 else back(i, more_n, more_y, more_q)

    yield from visit(at, n, y, chance)


def two_stage(truth, variant, *, carry_over, dose_first=True, start=(0, 0)) -> dict[Any, float]:
    """Law of (n, dlt, selected) of the two-stage 3+3; ``start`` is (dose, frequency) counted from 0."""
    board = np.arange(np.size(truth)).reshape(np.shape(truth))
    p = np.reshape(truth, -1).tolist()
    switches = dict(zip(("deescalate", "six_at_top"), VARIANTS[variant], strict=True))
    dose, often = start
    if not dose_first:
        board, dose, often = board.T, often, dose
    first = board[often].tolist()
    law: dict[Any, float] = defaultdict(float)
    zero = (0,) * len(p)
    for n, y, hinge, chance in ladder(p, first, dose, zero, zero, 1.0, **switches):
        if hinge is None or often + 1 == len(board):
            law[n, y, hinge] += chance
            continue
        column = first.index(hinge)
        below = first[: column + 1] if carry_over else []
        rungs = below + board[often + 1 :, column].tolist()
        for n2, y2, chosen, q in ladder(p, rungs, len(below), n, y, chance, **switches):
            law[n2, y2, hinge if chosen is None and not carry_over else chosen] += q
    return dict(law)


def contour(truth, variant, row_start) -> dict[Any, float]:
    """Law of (n, dlt, selected doses) of the row-wise contour."""
    rows, doses = np.shape(truth)
    p = np.reshape(truth, -1).tolist()
    switches = dict(zip(("deescalate", "six_at_top"), VARIANTS[variant], strict=True))
    law: dict[Any, float] = defaultdict(float)

    def row(often: int, at: int, n: Counts, y: Counts, chosen: Counts, chance: float) -> None:
        shut = {
            often * doses + dose
            for dose in range(doses)
            for low in range(often)
            if any(y[low * doses + d] > 1 for d in range(dose + 1))
        }
        rungs = list(range(often * doses, (often + 1) * doses))
        for n2, y2, found, q in ladder(p, rungs, at, n, y, chance, **switches, closed=frozenset(shut)):
            if found is None or often + 1 == rows:
                law[n2, y2, chosen if found is None else (*chosen, found)] += q
                continue
            dose = found % doses
            begin = {"lowest": 0, "one_below": max(dose - 1, 0), "same": dose}[row_start]
            row(often + 1, begin, n2, y2, (*chosen, found), q)

    zero = (0,) * len(p)
    row(0, 0, zero, zero, (), 1.0)
    return dict(law)


def law_of(graph, truth, *, many=False) -> dict[Any, float]:
    law: dict[Any, float] = defaultdict(float)
    chances = graph.probabilities(np.reshape(truth, -1))[0]
    for n, y, selected, chance in zip(graph.n, graph.dlt, graph.selected, chances, strict=True):
        chosen = np.flatnonzero(selected).tolist()
        assert many or len(chosen) <= 1
        end = tuple(chosen) if many else (chosen[0] if chosen else None)
        law[tuple(n.tolist()), tuple(y.tolist()), end] += float(chance)
    return dict(law)


def assert_same_law(found, expected):
    assert sorted(map(str, found.keys() ^ expected.keys()))[:3] == []  # a few ends that only one of them has
    worst = max(expected, key=lambda key: abs(found[key] - expected[key]))
    assert found[worst] == pytest.approx(expected[worst], abs=1e-12), worst


@pytest.fixture(scope="module")
def graph_of(study_of):
    def build(truth, *, start=(1, 1), max_patients=None, **design):
        place = {"dose": start[0], "frequency": start[1]}
        size = {"max_patients": max_patients} if max_patients else {}
        return compile_graph(study_of(design, truth, start=place, **size).protocol.rule)

    return build


@pytest.fixture(scope="module")
def rule_of(study_of):
    def build(truth, *, start=(1, 1), **design):
        return study_of(design, truth, start={"dose": start[0], "frequency": start[1]}).protocol.rule

    return build


# two stages ------------------------------------------------------------------------------------

PRINTED = {
    ("s1", "V2"): (
        ".02717 .00926 .03664 .21669 .19036 .07702 .01565 .07015 .12394 .03128 .00528 "
        ".06996 .07186 .04462 .00930 .00083",
        24.0177,
        5.2031,
    ),
    ("s1", "V3"): (
        ".02717 .00934 .03716 .22074 .20906 .05389 .01878 .08051 .13666 .03675 .00385 "
        ".06675 .06114 .03144 .00647 .00029",
        24.7809,
        5.4387,
    ),
    ("s3", "V2"): (
        ".00463 .00255 .00895 .03524 .18936 .28546 .00444 .01512 .06749 .10831 .04955 "
        ".04338 .06759 .06912 .03899 .00982",
        25.1363,
        4.4215,
    ),
    ("s3", "V3"): (
        ".00463 .00256 .00903 .03620 .21912 .24376 .00541 .01816 .07842 .13565 .04463 "
        ".04240 .06453 .05955 .03120 .00475",
        26.6497,
        4.7927,
    ),
    ("s4", "V3"): (
        ".56749 .29022 .07197 .00459 .00010 0 .05102 .00514 .00010 0 0 .00898 .00039 0 0 0",
        10.4035,
        4.0452,
    ),
}


@pytest.mark.parametrize(("surface", "variant"), PRINTED, ids=str)
def test_printed_numbers_of_dose_then_frequency(graph_of, surface, variant):
    truth = SURFACES[surface]
    graph = graph_of(truth, name="dose_then_frequency", variant=variant)
    chance = graph.probabilities(np.reshape(truth, -1))[0]
    chosen, patients, dlts = PRINTED[surface, variant]
    found = [chance[~graph.selected.any(axis=1)].sum(), *(chance @ graph.selected)]
    np.testing.assert_allclose(found, [float(x) for x in chosen.split()], rtol=0, atol=5.001e-6)
    assert chance @ graph.n.sum(axis=1) == pytest.approx(patients, abs=5.001e-5)
    assert chance @ graph.dlt.sum(axis=1) == pytest.approx(dlts, abs=5.001e-5)


def one_axis(p, variant) -> tuple[dict[int | None, float], float, float]:
    """Selection, E[N] and E[DLT] of a 3+3 on one axis."""
    switches = dict(zip(("deescalate", "six_at_top"), VARIANTS[variant], strict=True))
    zero, chosen, patients, dlts = (0,) * len(p), defaultdict(float), 0.0, 0.0
    for n, y, level, chance in ladder(list(p), list(range(len(p))), 0, zero, zero, 1.0, **switches):
        chosen[level] += chance
        patients += chance * sum(n)
        dlts += chance * sum(y)
    return chosen, patients, dlts


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("surface", SURFACES)
def test_without_carry_over_the_law_is_a_product(graph_of, surface, variant):
    """P(d, f) = P(d on the first row) P(step f on the column of d); no step means the first row."""
    truth = np.array(SURFACES[surface])
    first, patients, dlts = one_axis(truth[0], variant)
    expected = np.zeros(truth.shape)
    for dose in range(5):
        second, more_patients, more_dlts = one_axis(truth[1:, dose], variant)
        patients += first[dose] * more_patients
        dlts += first[dose] * more_dlts
        expected[:, dose] = [first[dose] * second[step] for step in (None, 0, 1)]
    graph = graph_of(truth.tolist(), name="dose_then_frequency", variant=variant)
    chance = graph.probabilities(truth.reshape(-1))[0]
    np.testing.assert_allclose(chance @ graph.selected, expected.reshape(-1), rtol=0, atol=1e-12)
    assert chance[~graph.selected.any(axis=1)].sum() == pytest.approx(first[None], abs=1e-12)
    assert chance @ graph.n.sum(axis=1) == pytest.approx(patients, abs=1e-10)
    assert chance @ graph.dlt.sum(axis=1) == pytest.approx(dlts, abs=1e-10)


@pytest.mark.parametrize("truth", [SMALL, TALL], ids=["2x3", "3x2"])
@pytest.mark.parametrize("start", [(1, 1), (2, 1), (1, 2), (2, 2)], ids=str)
@pytest.mark.parametrize("carry_over", [False, True], ids=["fresh", "carried"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["dose_then_frequency", "frequency_then_dose"])
def test_every_end_of_the_two_stages(graph_of, name, variant, carry_over, start, truth):
    graph = graph_of(truth, name=name, variant=variant, carry_over=carry_over, start=start)
    expected = two_stage(
        truth,
        variant,
        carry_over=carry_over,
        dose_first=name == "dose_then_frequency",
        start=(start[0] - 1, start[1] - 1),
    )
    assert_same_law(law_of(graph, truth), expected)


@pytest.mark.parametrize("carry_over", [False, True], ids=["fresh", "carried"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_frequency_then_dose_is_the_mirror_image(graph_of, variant, carry_over):
    truth = np.array(SURFACES["s1"])[:, :3]
    truth[2, 0] = 0.22  # a surface that is not its own mirror image
    design = {"variant": variant, "carry_over": carry_over}
    one = graph_of(truth.tolist(), name="frequency_then_dose", **design)
    other = graph_of(truth.T.tolist(), name="dose_then_frequency", **design)
    turned = np.arange(truth.size).reshape(truth.shape).T.reshape(-1)  # position in the other grid -> in this one
    back = np.argsort(turned)
    found = {
        (tuple(np.array(n)[turned]), tuple(np.array(y)[turned]), None if k is None else int(back[k])): chance
        for (n, y, k), chance in law_of(one, truth).items()
    }
    assert_same_law(found, law_of(other, truth.T))


@pytest.mark.parametrize(
    ("name", "truth"),
    [("dose_then_frequency", [[0.1, 0.2, 0.4]]), ("frequency_then_dose", [[0.1], [0.2], [0.4]])],
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_with_a_single_level_on_the_second_axis_it_is_a_plain_3_plus_3(graph_of, name, truth, variant):
    plain = graph_of(truth, name="three_plus_three", variant=variant)
    for carry_over in (False, True):
        assert_same_law(
            law_of(graph_of(truth, name=name, variant=variant, carry_over=carry_over), truth), law_of(plain, truth)
        )


@pytest.mark.parametrize(
    ("carry_over", "variant", "text", "next_level", "selected"),
    [
        # the second stage opens above the hinge
        (False, "V1", "1.1NNN 2.1NTT", "1.2", None),
        (True, "V2", "1.1NNN 2.1NTT 1.1NNN", "1.2", None),
        # its first step fails: without carry-over the hinge is kept as it is, with three
        (False, "V2", "1.1NNN 2.1NNN 2.2NTT", None, "2.1"),
        # with carry-over the hinge is filled up, and can still be left downwards
        (True, "V2", "1.1NNN 2.1NNN 2.2NTT", "2.1", None),
        (True, "V2", "1.1NNN 2.1NNN 2.2NTT 2.1NNT", None, "2.1"),
        (True, "V2", "1.1NNN 2.1NNN 2.2NTT 2.1NTT", "1.1", None),
        (True, "V2", "1.1NNN 2.1NNN 2.2NTT 2.1NTT 1.1NNN", None, "1.1"),
        (True, "V2", "1.1NNN 2.1NNN 2.2NTT 2.1NTT 1.1TTT", None, ""),
        # without de-escalation the hinge is declared with three either way
        (True, "V1", "1.1NNN 2.1NNN 2.2NTT", None, "2.1"),
        (False, "V1", "1.1NTT", None, ""),
    ],
)
def test_the_hinge(rule_of, carry_over, variant, text, next_level, selected):
    truth = [[0.1, 0.2], [0.2, 0.3]]
    rule = rule_of(truth, name="dose_then_frequency", variant=variant, carry_over=carry_over)
    advice = Advisor(rule).advise(replay(rule, text).state)
    if next_level is not None:
        assert advice.action != Action.STOP
        assert rule.grid.level(advice.regimen) == next_level
    else:
        assert advice.action == Action.STOP
        assert " ".join(rule.grid.level(k) for k in advice.selected) == selected


def test_reasons_name_the_stages(rule_of):
    rule = rule_of([[0.1, 0.2], [0.2, 0.3]], name="dose_then_frequency", variant="V2")
    advisor = Advisor(rule)
    for text, reason in (
        ("1.1NNN 2.1NNN", "two_stage.second_axis"),
        ("1.1NNN 2.1NNN 2.2NTT", "two_stage.hinge_kept"),
        ("1.1NTT", "three_plus_three.lowest_failed"),
    ):
        assert advisor.advise(replay(rule, text).state).reasons == (reason,), text
    carried = rule_of([[0.1, 0.2], [0.2, 0.3]], name="dose_then_frequency", variant="V2", carry_over=True)
    advisor = Advisor(carried)
    for text, reason in (
        ("1.1NNN 2.1NNN 2.2NTT", "three_plus_three.de_escalate"),
        ("1.1NNN 2.1NNN 2.2NTT 2.1NNN", "three_plus_three.mtd_confirmed"),
        ("1.1NNN 2.1NNN 2.2NTT 2.1NTT 1.1TTT", "three_plus_three.lowest_failed"),
    ):
        assert advisor.advise(replay(carried, text).state).reasons == (reason,), text


@pytest.mark.parametrize(
    ("variant", "carry_over", "text", "selected"),
    [
        ("V1", False, "1.1NNN 2.1NNN", "2.1"),
        ("V2", False, "1.1NNN 2.1NNN", ""),
        ("V1", False, "1.1NNN 2.1NTT 1.2NNN", "1.2"),
        ("V2", False, "1.1NNN 2.1NTT 1.1NNN 1.2NNN", "1.1"),
        ("V2", True, "1.1NNN 2.1NTT 1.1NNN 1.2NNN", "1.1"),
    ],
)
def test_selection_of_a_trial_cut_short(study_of, variant, carry_over, text, selected):
    size = sum(letter in "NT" for letter in text)
    design = {"name": "dose_then_frequency", "variant": variant, "carry_over": carry_over}
    truth = [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4], [0.3, 0.4, 0.5]]
    rule = study_of(design, truth, max_patients=size).protocol.rule
    advice = Advisor(rule).advise(replay(rule, text).state)
    assert advice.reasons == ("guard.max_patients",)
    assert " ".join(rule.grid.level(k) for k in advice.selected) == selected


# paths -----------------------------------------------------------------------------------------


def test_zigzag_on_five_by_three():
    grid = RegimenGrid(doses=(1, 2, 3, 4, 5), schedules=((0,), (0, 7), (0, 7, 14)))
    assert [grid.level(k) for k in zigzag(grid)] == ["1.1", "2.1", "3.1", "3.2", "4.2", "4.3", "5.3"]


@given(doses=st.integers(1, 8), frequencies=st.integers(1, 8), data=st.data())
def test_zigzag_climbs_one_axis_at_a_time_to_the_highest_regimen(doses, frequencies, data):
    grid = RegimenGrid(tuple(range(1, doses + 1)), tuple(tuple(range(k + 1)) for k in range(frequencies)))
    start = data.draw(st.integers(0, grid.size - 1))
    path = zigzag(grid, start)
    assert path[0] == start
    assert path[-1] == grid.size - 1
    steps = [np.subtract(grid.regimen(b), grid.regimen(a)).tolist() for a, b in pairwise(path)]
    assert all(sorted(step) == [0, 1] for step in steps)
    # evenly spread: no run of frequency steps is longer than dose steps make necessary
    climbs, raises = doses - grid.regimen(start).dose, frequencies - grid.regimen(start).frequency
    longest = max((len(run) for run in "".join("f" if s[1] else "d" for s in steps).split("d")), default=0)
    assert longest <= max(-(-raises // (climbs or 1)), 1)


def test_the_path_is_climbed_like_a_ladder(graph_of):
    truth = SMALL
    grid = RegimenGrid(doses=(1, 2, 3), schedules=((0,), (0, 7)))
    paths = {
        "zigzag": None,
        "across": [[1, 1], [1, 2], [2, 2], [3, 2]],
        "every frequency of a dose": [[1, 1], [1, 2], [2, 1], [2, 2], [3, 1], [3, 2]],
    }
    for name, given_path in paths.items():
        design = {"name": "three_plus_three_path", "variant": "V3"}
        if given_path:
            design |= {"path": given_path, "acknowledge_unordered": name.startswith("every")}
        levels = given_path or [grid.regimen(k) for k in zigzag(grid)]
        rungs = [grid.index(Regimen(*level)) for level in levels]
        zero = (0,) * 6
        expected: dict[Any, float] = defaultdict(float)
        p = np.reshape(truth, -1).tolist()
        for n, y, chosen, chance in ladder(p, rungs, 0, zero, zero, 1.0, deescalate=True, six_at_top=True):
            expected[n, y, chosen] += chance
        assert_same_law(law_of(graph_of(truth, **design), truth), dict(expected))


def test_a_path_may_start_above_its_lowest_level(graph_of):
    path = [[1, 1], [2, 1], [2, 2], [3, 2]]
    graph = graph_of(SMALL, name="three_plus_three_path", variant="V2", path=path, start=(2, 1))
    zero, p = (0,) * 6, np.reshape(SMALL, -1).tolist()
    expected: dict[Any, float] = defaultdict(float)
    for n, y, chosen, chance in ladder(p, [0, 1, 4, 5], 1, zero, zero, 1.0, deescalate=True, six_at_top=False):
        expected[n, y, chosen] += chance
    assert_same_law(law_of(graph, SMALL), dict(expected))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ([[1, 1], [2, 2]], "the step 1.1 to 2.2 raises dose and frequency together"),
        ([[1, 1], [3, 1]], "the step 1.1 to 3.1 skips a level"),
        ([[1, 1], [1, 2], [2, 1]], "the step 1.2 to 2.1 is not one level up on one axis"),
        ([[1, 1], [2, 1], [1, 1]], "visits a regimen twice"),
        ([[2, 1], [2, 2]], "the starting regimen is not on the path"),
        ([[1, 1], [4, 1]], "regimen dose 4, frequency 1 does not exist"),
        ([[1, 1], [0, 1]], "regimen dose 0, frequency 1 does not exist"),
        ([], "the path is empty"),
    ],
)
def test_paths_that_cannot_work_are_refused(rule_of, path, words):
    with pytest.raises(StudyError, match=words) as raised:
        rule_of(SMALL, name="three_plus_three_path", path=path)
    assert {fault.path for fault in raised.value.faults} == {"protocol.design.path"}


def test_an_unordered_path_needs_acknowledgement_but_no_more(rule_of):
    path = [[1, 1], [1, 2], [2, 1]]
    assert rule_of(SMALL, name="three_plus_three_path", path=path, acknowledge_unordered=True).design.ladder.size == 3
    with pytest.raises(StudyError, match="together"):  # never acknowledged away
        rule_of(SMALL, name="three_plus_three_path", path=[[1, 1], [2, 2]], acknowledge_unordered=True)


# contours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("truth", [SMALL, TALL], ids=["2x3", "3x2"])
@pytest.mark.parametrize("row_start", ["lowest", "one_below", "same"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_end_of_the_contour(graph_of, variant, row_start, truth):
    graph = graph_of(truth, name="three_plus_three_contour", variant=variant, row_start=row_start)
    assert_same_law(law_of(graph, truth, many=True), contour(truth, variant, row_start))


@pytest.mark.parametrize("row_start", ["lowest", "one_below", "same"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_contour_never_rises_with_the_frequency(graph_of, variant, row_start):
    truth = [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4], [0.3, 0.4, 0.5]]
    for size in (None, 12, 18):  # run to its end, and cut short
        graph = graph_of(
            truth, name="three_plus_three_contour", variant=variant, row_start=row_start, max_patients=size
        )
        chosen = graph.selected.reshape(-1, 3, 3)
        assert (chosen.sum(axis=2) <= 1).all()
        found = chosen.any(axis=2)
        assert (np.diff(found.astype(int), axis=1) <= 0).all()  # no row without the rows below it
        dose = np.where(found, chosen.argmax(axis=2), -1)
        assert (np.diff(dose, axis=1) <= 0).all()


def test_where_the_next_frequency_starts(rule_of):
    truth = [[0.1] * 4, [0.2] * 4]
    for row_start, level in (("lowest", "1.2"), ("one_below", "2.2"), ("same", "3.2")):
        rule = rule_of(truth, name="three_plus_three_contour", variant="V1", row_start=row_start)
        advice = Advisor(rule).advise(replay(rule, "1.1NNN 2.1NNN 3.1NNN 4.1NTT").state)
        assert rule.grid.level(advice.regimen) == level
        assert advice.reasons == ("contour.next_frequency",)
    assert rule_of(truth, name="three_plus_three_contour").design.parameters.variant == "V2"


@pytest.mark.parametrize(
    ("text", "selected", "reason"),
    [
        ("1.1NNN 2.1NNN 1.2NNN 2.2NNN", "2.1 2.2", "contour.complete"),
        ("1.1NNN 2.1NNN 1.2NTT", "2.1", "contour.frequency_failed"),
        ("1.1NTT", "", "three_plus_three.lowest_failed"),
        # dose 2 is closed at frequency 2 because it failed at frequency 1
        ("1.1NNN 2.1NTT 1.2NNN", "1.1 1.2", "contour.complete"),
    ],
)
def test_ends_of_the_contour(rule_of, text, selected, reason):
    rule = rule_of([[0.1, 0.2], [0.2, 0.3]], name="three_plus_three_contour", variant="V1")
    advice = Advisor(rule).advise(replay(rule, text).state)
    assert advice.action == Action.STOP
    assert " ".join(rule.grid.level(k) for k in advice.selected) == selected
    assert advice.reasons == (reason,)


# what holds for all of them --------------------------------------------------------------------

FAMILY = [
    {"name": "dose_then_frequency"},
    {"name": "dose_then_frequency", "carry_over": True},
    {"name": "frequency_then_dose", "carry_over": True},
    {"name": "three_plus_three_path"},
    {"name": "three_plus_three_contour"},
    {"name": "three_plus_three_contour", "row_start": "same"},
]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("design", FAMILY, ids=lambda design: "-".join(map(str, design.values())))
def test_nobody_is_treated_at_or_above_a_regimen_that_failed(rule_of, design, variant):
    """On every path, unmerged: failed means two or more participants with a DLT at the regimen."""
    rule = rule_of(SMALL, **design, variant=variant)
    often, dose = np.divmod(np.arange(6), 3)
    above = (dose[:, None] <= dose[None, :]) & (often[:, None] <= often[None, :])
    front = Front.start(rule)
    while front.rows:
        branches = branch(front)
        decisions = decide(rule, branches.tally)
        front, origin = onward(branches, decisions)
        failed = branches.tally.dlt[origin] >= 2
        closed = (failed[:, :, None] & above[None]).any(axis=1)
        assert not closed[np.arange(front.rows), front.regimen].any()
        up = (dose[front.regimen] > dose[branches.tally.current[origin]]) & (
            often[front.regimen] > often[branches.tally.current[origin]]
        )
        assert not up.any()  # never both axes together
        ended = branches.tally.take(decisions.stops)
        chosen = rule.select(ended, decisions.reason[decisions.stops])
        shut = ((ended.dlt >= 2)[:, :, None] & above[None]).any(axis=1)
        assert not (chosen & shut).any()
        assert not (chosen & (ended.n == 0)).any()


@pytest.mark.parametrize("name", ["dose_then_frequency", "frequency_then_dose", "three_plus_three_contour"])
def test_the_cumulative_reading_needs_one_ladder(rule_of, name):
    with pytest.raises(StudyError, match="R3 counts over one ladder only"):
        rule_of(SMALL, name=name, reading="R3", variant="V1")


@pytest.mark.parametrize("reading", ["R1", "R2"])
@pytest.mark.parametrize("name", ["dose_then_frequency", "three_plus_three_path", "three_plus_three_contour"])
def test_readings_on_the_grid(graph_of, name, reading):
    graph = graph_of(SMALL, name=name, variant="V1", reading=reading)
    assert graph.n.max() == (6 if reading == "R1" else 3)
