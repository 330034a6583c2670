"""The exact engine: its law sums to one, equals enumeration by hand, and refuses what it cannot hold."""

from __future__ import annotations

from collections import defaultdict
from math import comb
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design, Parameters, Setting
from escalation.errors import EngineError, StateBudgetError
from escalation.exact import compile_graph
from escalation.guards import Coherence, MaximumSize, TooToxicAtLowest
from escalation.regimens import RegimenGrid
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.sampled import sample
from escalation.simulate import simulate
from escalation.tally import Tally

THREE = RegimenGrid(doses=(1, 2, 3), schedules=((0,),))
P3 = (0.15, 0.3, 0.5)


class Nothing(Parameters):
    """No parameters."""


class Toy(Design[Nothing]):
    """A design written in a test: cohorts of one or two, never moving unless a subclass says so."""

    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "Toy"
    citation: ClassVar[str] = "none"
    Parameters = Nothing
    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason("toy.goes_on", "It goes on.", "It goes on."),
        Reason("toy.ends", "It ends.", "It ends.", stop="declared"),
    )

    def __init__(self, grid: RegimenGrid = THREE, cohort_size: int = 1) -> None:
        super().__init__(Nothing(), Setting(grid, cohort_size, 0))

    def go(self, tally: Tally, regimen: Any, **more: Any) -> Decisions:
        """Another cohort at a regimen in every row."""
        there = np.broadcast_to(np.asarray(regimen, np.int32), (tally.rows,)).copy()
        return Decisions(
            action=moves(tally.current, there, self.grid.at_most),
            regimen=there,
            size=np.full(tally.rows, self.setting.cohort_size, np.int32),
            reason=np.zeros(tally.rows, np.int32),
            **more,
        )

    def decide(self, tally: Tally) -> Decisions:
        return self.go(tally, tally.current)

    def select(self, tally: Tally):
        chosen = np.zeros(tally.n.shape, dtype=bool)
        chosen[np.arange(tally.rows), tally.current] = True
        return chosen


class CoinFlip(Toy):
    """Six cohorts of two, each after the first at level 1 with probability 0.3 and at level 2 otherwise."""

    SHARE: ClassVar[tuple[float, ...]] = (0.3, 0.7, 0.0)

    def decide(self, tally: Tally) -> Decisions:
        share = np.tile(np.array(self.SHARE), (tally.rows, 1))
        decided = self.go(tally, tally.current, allocation=share)
        return decided.stop_where(tally.total >= 12, tally.current, 1)

    @property
    def own_maximum(self) -> int:
        return 12


class CountsItself(Toy):
    """Goes up after every clear cohort, remembering how many it has seen; ends after four cohorts."""

    memory_size: ClassVar[int] = 1
    own_maximum = 4

    def decide(self, tally: Tally) -> Decisions:
        seen = tally.memory + 1
        clear = tally.dlt.sum(axis=1) == 0
        decided = self.go(tally, np.where(clear, np.minimum(tally.current + 1, 2), tally.current), memory=seen)
        return decided.stop_where(seen[:, 0] >= 4, tally.current, 1)


def totals(rows: TrialRows) -> dict[Any, float]:
    law: dict[Any, float] = defaultdict(float)
    for n, y, chosen, weight in zip(rows.n, rows.dlt, rows.selected, rows.weight, strict=True):
        law[tuple(n.tolist()), tuple(y.tolist()), tuple(np.flatnonzero(chosen).tolist())] += float(weight)
    return dict(law)


# probabilities ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graphs(study_of):
    flat, grid = [0.1] * 5, [[0.1] * 3] * 2
    designs = {
        "V1": study_of({"name": "three_plus_three"}, flat),
        "V3": study_of({"name": "three_plus_three", "variant": "V3"}, flat),
        "boin": study_of({"name": "boin"}, flat, max_patients=18),
        "crm": study_of({"name": "crm"}, flat, max_patients=12),
        "expansion": study_of({"name": "three_plus_three", "variant": "V2"}, flat, expansion={"size": 6}),
        "two stages": study_of({"name": "dose_then_frequency", "variant": "V2", "carry_over": True}, grid),
        "contour": study_of({"name": "three_plus_three_contour"}, grid),
    }
    return {name: compile_graph(study.protocol.rule) for name, study in designs.items()}


chances = st.one_of(st.sampled_from([0.0, 1.0, 1e-300, 1 - 2**-53]), st.floats(0, 1))


@given(p=st.lists(chances, min_size=6, max_size=6))
def test_probabilities_sum_to_one(graphs, p):
    for name, graph in graphs.items():
        law = graph.probabilities(p[: graph.rule.grid.size])[0]
        assert (law >= 0).all(), name
        assert law.sum() == pytest.approx(1, abs=1e-11), name


def test_certain_outcomes_leave_one_end(graphs):
    """p of 0 and 1 need no care by the caller: 0 * log 0 is 0 and an impossible end has probability 0."""
    graph = graphs["V1"]
    law = graph.probabilities([0.0, 0.0, 1.0, 0.5, 0.0])[0]
    end = int(np.argmax(law))
    assert law[end] == pytest.approx(1, abs=1e-12)
    assert (graph.n[end].tolist(), graph.dlt[end].tolist()) == ([3, 3, 3, 0, 0], [0, 0, 3, 0, 0])
    assert np.flatnonzero(graph.selected[end]).tolist() == [1]
    assert graph.probabilities(np.zeros(5))[0] @ graph.selected[:, 4] == 1
    assert graph.probabilities(np.ones(5))[0][~graph.selected.any(axis=1)].sum() == 1


def test_many_truths_at_once_are_each_as_if_alone(graphs):
    truths = np.sort(np.random.default_rng(3).random((1000, 5)), axis=1)
    for name in ("V3", "boin"):
        graph = graphs[name]
        together = graph.probabilities(truths)
        assert together.shape == (1000, graph.rows)
        alone = np.concatenate([graph.probabilities(truth) for truth in truths])
        np.testing.assert_allclose(together, alone, rtol=1e-11, atol=1e-300)


def test_number_of_ways_is_the_number_of_outcome_sequences(graphs):
    """At p = 1/2 every sequence of outcomes is as likely as any other of its length."""
    graph = graphs["V3"]
    size = graph.n.sum(axis=1)
    np.testing.assert_allclose(graph.probabilities([0.5] * 5)[0], graph.ways / 2.0**size, rtol=1e-12)
    assert (graph.ways == np.rint(graph.ways)).all()


# by hand ---------------------------------------------------------------------------------------


def test_randomised_allocation_by_hand():
    """Five coin flips share the cohorts between two levels; the selection is where the last cohort went."""
    graph = compile_graph(Rule(CoinFlip(cohort_size=2)))
    expected: dict[Any, float] = defaultdict(float)
    for low in range(6):  # cohorts at level 1 among the five that are drawn
        flips = comb(5, low) * 0.3**low * 0.7 ** (5 - low)
        n1, n2 = 2 * (1 + low), 2 * (5 - low)
        last = {0: low / 5, 1: 1 - low / 5}  # by symmetry of the order of the five
        for y1 in range(n1 + 1):
            for y2 in range(n2 + 1):
                q = comb(n1, y1) * P3[0] ** y1 * (1 - P3[0]) ** (n1 - y1)
                q *= comb(n2, y2) * P3[1] ** y2 * (1 - P3[1]) ** (n2 - y2)
                for level, share in last.items():
                    if share:
                        expected[(n1, n2, 0), (y1, y2, 0), (level,)] += flips * share * q
    found = totals(TrialRows.exact(graph, np.array(P3)))
    assert sorted(map(str, found.keys() ^ expected.keys()))[:3] == []
    for end, chance in expected.items():
        assert found[end] == pytest.approx(chance, abs=1e-14), end


def test_randomised_allocation_in_the_sampled_engine(agree):
    rule = Rule(CoinFlip(cohort_size=2))
    exact = TrialRows.exact(compile_graph(rule), np.array(P3))
    agree(sample(rule, np.array(P3), 11, 0, 20_000), exact, rule)


def test_memory_keeps_states_apart():
    """Equal counts reached after different numbers of cohorts are different states."""
    graph = compile_graph(Rule(CountsItself()))
    expected: dict[Any, float] = defaultdict(float)

    def walk(level, n, y, seen, chance):
        for toxic in (0, 1):
            more_n, more_y = list(n), list(y)
            more_n[level] += 1
            more_y[level] += toxic
            q = chance * (P3[level] if toxic else 1 - P3[level])
            if seen == 3:
                expected[tuple(more_n), tuple(more_y), (level,)] += q
            else:
                walk(min(level + 1, 2) if sum(more_y) == 0 else level, more_n, more_y, seen + 1, q)

    walk(0, [0, 0, 0], [0, 0, 0], 0, 1.0)
    found = totals(TrialRows.exact(graph, np.array(P3)))
    assert sorted(map(str, found.keys() ^ expected.keys()))[:3] == []
    assert all(found[end] == pytest.approx(chance, abs=1e-15) for end, chance in expected.items())


def test_a_decision_on_the_last_cohort_is_not_lost_by_merging(study_of):
    """The coherence guard tells states apart that have equal counts but another last cohort."""
    study = study_of({"name": "boin", "target": 0.3}, list(P3), max_patients=9, cohort_size=1)
    boin = study.protocol.rule.design
    rule = Rule(boin, (Coherence(target=0.3), MaximumSize(limit=9)))
    p = np.array(P3)
    expected: dict[Any, float] = defaultdict(float)

    def walk(level, n, y, chance):
        for toxic in (0, 1):
            more_n, more_y = list(n), list(y)
            more_n[level] += 1
            more_y[level] += toxic
            q = chance * (p[level] if toxic else 1 - p[level])
            tally = Tally.of([more_n], [more_y], [level], cohort_n=[1], cohort_dlt=[toxic])
            plain = boin.decide(tally)
            there = int(plain.regimen[0])
            if toxic and there > level:
                there = level  # the guard, in words: no escalation after a cohort with a DLT
            if plain.stops[0] or sum(more_n) == 9:
                chosen = tuple(np.flatnonzero(boin.select(tally)[0] & ~plain.stops[0]).tolist())
                expected[tuple(more_n), tuple(more_y), chosen] += q
            else:
                walk(there, more_n, more_y, q)

    walk(0, [0, 0, 0], [0, 0, 0], 1.0)
    found = totals(TrialRows.exact(compile_graph(rule), p))
    assert sorted(map(str, found.keys() ^ expected.keys()))[:3] == []
    assert all(found[end] == pytest.approx(chance, abs=1e-13) for end, chance in expected.items())


@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "alone"])
@pytest.mark.parametrize(("size", "look_every"), [(6, 3), (7, 3), (4, 1), (5, 8)])
def test_expansion_stage_by_hand(study_of, size, look_every, pooled):
    """Every end of escalation, continued group by group with the Beta posterior of scipy."""
    monitor = {"threshold": 0.3, "certainty": 0.7, "pooled": pooled, "prior": [0.5, 1.0]}
    expansion = {"size": size, "look_every": look_every, "monitor": monitor}
    p = [0.2, 0.35, 0.5]
    study = study_of({"name": "three_plus_three", "variant": "V2"}, p, expansion=expansion)
    plain = study_of({"name": "three_plus_three", "variant": "V2"}, p)
    escalation = compile_graph(plain.protocol.rule)
    expected: dict[Any, float] = defaultdict(float)

    def out(n, y, more_n, more_y):
        total, seen = (n + more_n, y + more_y) if pooled else (more_n, more_y)
        return seen > 0 and beta.sf(0.3, 0.5 + seen, 1.0 + total - seen) > 0.7

    def expand(end, n, y, q, more_n, more_y, chance):
        group = min(look_every, size - more_n)
        for t in range(group + 1):
            n2, y2 = more_n + group, more_y + t
            here = chance * comb(group, t) * q**t * (1 - q) ** (group - t)
            withdrawn = out(n, y, n2, y2)
            if withdrawn or n2 == size:
                expected[(*end, n2, y2, bool(withdrawn))] += here
            else:
                expand(end, n, y, q, n2, y2, here)

    ends = zip(escalation.n, escalation.dlt, escalation.selected, escalation.probabilities(p)[0], strict=True)
    for n, y, chosen, chance in ends:
        end = (tuple(n.tolist()), tuple(y.tolist()), tuple(np.flatnonzero(chosen).tolist()))
        if chosen.any():
            k = int(np.argmax(chosen))
            expand(end, int(n[k]), int(y[k]), p[k], 0, 0, float(chance))
        else:
            expected[(*end, 0, 0, False)] += float(chance)

    rows = TrialRows.exact(compile_graph(study.protocol.rule), np.array(p))
    found: dict[Any, float] = defaultdict(float)
    columns = zip(rows.n, rows.dlt, rows.selected, strict=True)
    for row, (n, y, chosen) in enumerate(columns):
        end = (tuple(n.tolist()), tuple(y.tolist()), tuple(np.flatnonzero(chosen).tolist()))
        stage = (int(rows.expansion_n[row]), int(rows.expansion_dlt[row]), bool(rows.withdrawn[row]))
        found[(*end, *stage)] += float(rows.weight[row])
    assert sorted(map(str, found.keys() ^ expected.keys()))[:3] == []
    assert all(found[end] == pytest.approx(chance, abs=1e-14) for end, chance in expected.items())


def test_an_expansion_that_is_only_observed(study_of):
    study = study_of({"name": "three_plus_three"}, list(P3), expansion={"size": 6, "monitor": None})
    rows = TrialRows.exact(compile_graph(study.protocol.rule), np.array(P3))
    assert not rows.withdrawn.any()
    chosen = rows.selected.any(axis=1)
    assert set(rows.expansion_n[chosen].tolist()) == {6}
    assert not rows.expansion_n[~chosen].any()
    share = (rows.weight @ rows.selected) @ np.array(P3)
    assert rows.weight @ rows.expansion_dlt == pytest.approx(6 * share, abs=1e-12)


# what it refuses -------------------------------------------------------------------------------


def test_the_state_budget(study_of):
    rule = study_of({"name": "boin"}, [0.1] * 5, max_patients=30).protocol.rule
    with pytest.raises(StateBudgetError, match="more than 100 distinct states") as raised:
        compile_graph(rule, budget=100)
    assert raised.value.budget == 100
    assert raised.value.states > 100
    assert "sampled" in str(raised.value)


def test_auto_falls_back_to_sampled_and_says_so(study_of):
    study = study_of({"name": "boin"}, [0.1] * 5, max_patients=30)
    result = simulate(study, trials=50, budget=100)
    assert (result.engine, result.trials, result.states) == ("sampled", 50, None)
    assert "more than 100 distinct states" in result.notes[0]
    with pytest.raises(StateBudgetError):
        simulate(study, engine="exact", budget=100)
    exact = simulate(study)
    assert (exact.engine, exact.trials, exact.seed) == ("exact", None, None)


def test_designs_that_never_end():
    with pytest.raises(EngineError, match=r"does not end by itself: set protocol\.max_patients"):
        compile_graph(Rule(Toy()))

    class Liar(Toy):
        own_maximum = 6

    for engine in (compile_graph, lambda rule: sample(rule, np.array(P3), 1, 0, 10)):
        with pytest.raises(EngineError, match="did not end within 6 participants"):
            engine(Rule(Liar()))


def test_designs_that_say_nonsense():
    class Waits(Toy):
        own_maximum = 6

        def decide(self, tally: Tally) -> Decisions:
            decided = self.go(tally, tally.current)
            decided.action[:] = Action.WAIT
            return decided

    class Nobody(Toy):
        own_maximum = 6

        def decide(self, tally: Tally) -> Decisions:
            decided = self.go(tally, tally.current)
            decided.size[:] = 0
            return decided

    for design, words in (
        (Waits(), "waits although no outcome is pending"),
        (Nobody(), "a cohort of no participants"),
    ):
        for engine in (compile_graph, lambda rule: sample(rule, np.array(P3), 1, 0, 10)):
            with pytest.raises(EngineError, match=words):
                engine(Rule(design))


def test_the_largest_size_is_never_passed(study_of):
    for last, limit, reached in (("whole", 10, 9), ("partial", 10, 10)):
        study = study_of({"name": "boin"}, [0.1] * 3, max_patients=limit, last_cohort=last)
        graph = compile_graph(study.protocol.rule)
        assert graph.n.sum(axis=1).max() == reached


def test_a_guard_only_adds_ends(study_of):
    """Stopping rules after the design: the share stopped by the guard is that of its boundary, by hand."""
    boin = study_of({"name": "boin"}, [0.4, 0.5, 0.6], max_patients=6).protocol.rule.design
    guard = TooToxicAtLowest(target=0.2, certainty=0.8)
    graph = compile_graph(Rule(boin, (guard, MaximumSize(limit=3))))
    law = graph.probabilities([0.4, 0.5, 0.6])[0]
    codes = [graph.rule.reasons[k].code for k in graph.reason]
    stopped = sum(q for q, code in zip(law, codes, strict=True) if code == "guard.too_toxic")
    # 3 of 3 eliminates in BOIN itself; Pr(p > .2 | 2 of 3) = .97 stops by the guard, Pr(p > .2 | 1 of 3) = .82 too
    assert beta.sf(0.2, 2, 3) > 0.8
    assert stopped == pytest.approx(3 * 0.4 * 0.6**2 + 3 * 0.4**2 * 0.6, abs=1e-12)
    assert not graph.selected[[code == "guard.too_toxic" for code in codes]].any()
