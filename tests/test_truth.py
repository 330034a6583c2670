"""Truth: DLT probabilities, windows, latent tolerance and times of onset."""

from __future__ import annotations

import io
import math
import pickle
import timeit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from ruamel.yaml import YAML

from escalation.errors import DesignError
from escalation.regimens import Regimen, RegimenGrid
from escalation.truth import (
    Acute,
    BoundTruth,
    Calibration,
    CumulativeDose,
    Delayed,
    Hazard,
    HazardTruth,
    TableTruth,
    Triangular,
    Truth,
    WeibullOnset,
    Window,
    bind,
    calibrate,
    tolerance_from,
)

THREE = RegimenGrid(doses=(2.0,), schedules=((0,), (0, 7), (0, 7, 14, 21)))
DOSES = RegimenGrid(doses=(1.0, 2.0, 3.0), schedules=((0,),))
GRID = RegimenGrid(doses=(0.5, 1, 2, 3, 4), schedules=((0, 7), (0, 3, 7, 10), (0, 2, 4, 7, 9, 11)))
FIRST, LAST = Window(), Window(anchor="last")
TRUTHS = TypeAdapter(Truth)


def read(value: object) -> TableTruth | HazardTruth:
    truth: TableTruth | HazardTruth = TRUTHS.validate_python(value)
    return truth


def hazard(acute: float, delayed: float, v: float = 0.0, **more: object) -> HazardTruth:
    return read({"hazard": {"acute": {"a": acute}, "delayed": {"a": delayed}, "frailty": v, **more}})  # type: ignore


def bound(value: object, grid: RegimenGrid = THREE, window: Window = FIRST) -> BoundTruth:
    return bind(read(value), grid, window)


def agrees(probability: np.ndarray, printed: list[float]) -> None:
    np.testing.assert_allclose(probability, printed, rtol=0, atol=5.01e-5)


class TestPublishedVectors:
    """Closed-form DLT probabilities, printed to 4 decimals."""

    @pytest.mark.parametrize(
        ("acute", "delayed", "v", "first", "last"),
        [
            (0.005, 0.005, 0, [0.0100, 0.0198, 0.0357], [0.0100, 0.0198, 0.0392]),
            (0.010, 0.012, 0, [0.0218, 0.0430, 0.0762], [0.0218, 0.0430, 0.0842]),
            (0.020, 0.030, 0, [0.0488, 0.0952, 0.1632], [0.0488, 0.0952, 0.1813]),
            (0.020, 0.030, 1, [0.0476, 0.0909, 0.1512], [0.0476, 0.0909, 0.1667]),
            (0.040, 0.080, 0, [0.1131, 0.2134, 0.3440], [0.1131, 0.2134, 0.3812]),
        ],
    )
    def test_three_regimens(self, acute, delayed, v, first, last):
        truth = hazard(acute, delayed, v)
        agrees(bind(truth, THREE, FIRST).probability, first)
        agrees(bind(truth, THREE, LAST).probability, last)

    @pytest.mark.parametrize(
        ("acute", "delayed", "rows"),
        [
            (
                0.004,
                0.004,
                [
                    [0.0060, 0.0096, 0.0158, 0.0214, 0.0268],
                    [0.0119, 0.0190, 0.0311, 0.0421, 0.0523],
                    [0.0177, 0.0282, 0.0461, 0.0620, 0.0767],
                ],
            ),
            (
                0.008,
                0.014,
                [
                    [0.0148, 0.0248, 0.0426, 0.0589, 0.0742],
                    [0.0292, 0.0486, 0.0822, 0.1122, 0.1399],
                    [0.0433, 0.0715, 0.1193, 0.1610, 0.1987],
                ],
            ),
        ],
    )
    def test_dose_by_frequency_surfaces(self, acute, delayed, rows):
        truth = bind(hazard(acute, delayed, 0.5), GRID, FIRST)
        agrees(np.array(GRID.matrix(truth.probability)), rows)
        assert truth.probability[GRID.index(Regimen(dose=5, frequency=1))] == pytest.approx(rows[0][4], abs=5.01e-5)

    @pytest.mark.parametrize(
        ("window", "expected"),
        [
            (FIRST, [0.0437, 0.0759, 0.1004]),
            (LAST, [0.0437, 0.0912, 0.1826]),
            (Window(days=28 + 140, anchor="last"), [0.0516, 0.1006, 0.1910]),
        ],
    )
    def test_delayed_toxicity(self, window, expected):
        delayed = {"a": 0.05, "kernel": {"law": "triangular", "rise": 14, "fall": 28}}
        truth = read({"hazard": {"acute": {"a": 0.003}, "delayed": delayed}})
        agrees(bind(truth, THREE, window).probability, expected)

    def test_sensitisation(self):
        truth = bound({"hazard": {"acute": {"a": 0.01, "ratio": 2}}})
        agrees(truth.probability, [0.0100, 0.0296, 0.1393])

    @pytest.mark.parametrize(
        ("exponent", "expected"),
        [
            (0.5, [0.0198, 0.0279, 0.0392]),
            (1, [0.0198, 0.0392, 0.0769]),
            (1.5, [0.0198, 0.0550, 0.1479]),
        ],
    )
    def test_cumulative_dose_alone(self, exponent, expected):
        agrees(bound({"hazard": {"cumulative": {"a": 0.02, "exponent": exponent}}}).probability, expected)

    def test_reference_dose_of_the_cumulative_term_is_its_own_when_given(self):
        spec = {"reference_dose": 1, "cumulative": {"a": 0.02, "reference_dose": 2}}
        agrees(bound({"hazard": spec}).probability, [0.0198, 0.0392, 0.0769])
        spec = {"reference_dose": 1, "cumulative": {"a": 0.02}}
        assert bound({"hazard": spec}).probability[0] == pytest.approx(1 - math.exp(-0.04))

    def test_background_alone(self):
        assert bound({"hazard": {"background": 0.001}}).probability == pytest.approx(1 - math.exp(-0.028))

    def test_weibull_kernel(self):
        kernel = {"law": "weibull", "shape": 2, "scale": 10}
        truth = bound({"hazard": {"delayed": {"a": 0.05, "kernel": kernel}}})
        risk = 0.05 * sum(1 - math.exp(-(((28 - day) / 10) ** 2)) for day in (0, 7))
        assert truth.probability[1] == pytest.approx(1 - math.exp(-risk), rel=1e-12)

    def test_triangular_kernel_is_the_integral_of_its_density(self):
        kernel = Triangular(rise=5, fall=16)
        u = np.linspace(0, 30, 300_001)
        density = np.where(u <= 5, 2 * u / (5 * 21), np.maximum(2 * (21 - u) / (16 * 21), 0))
        integral = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(u))])
        np.testing.assert_allclose(kernel.cdf(u), integral, atol=1e-8)


class TestWindow:
    def test_ends(self):
        schedule = (0, 7, 14, 21)
        assert (FIRST.end(schedule), LAST.end(schedule), Window(days=14).end(schedule)) == (28, 49, 14)
        assert bound([0.1, 0.2, 0.3], window=LAST).ends.tolist() == [28, 35, 49]

    def test_day_28_is_inside(self):
        truth = bound([0.1, 0.2, 0.3])
        assert truth.onset(1, 0.2) == 28.0
        assert truth.onset(1, math.nextafter(0.2, 1)) is None
        assert truth.cumulative(1, 28) == 0.2
        assert truth.cumulative(1, 27.99) < 0.2

    def test_day_28_is_inside_under_a_hazard_that_still_acts(self):
        truth = bound({"hazard": {"background": 0.01}})
        p = float(truth.probability[0])
        assert truth.onset(0, p) == pytest.approx(28.0, abs=1e-7)
        assert truth.onset(0, p) <= 28.0
        assert truth.onset(0, math.nextafter(p, 1)) is None

    def test_a_window_has_days(self):
        with pytest.raises(ValidationError, match="greater than or equal to 1"):
            Window(days=0)


class TestCalibration:
    def test_round_trip(self):
        wanted = Calibration(probability=0.0487706, acute_share=0.4)
        solved = calibrate(Hazard(calibrate=wanted), wanted, (0,), 2.0, 28)
        assert (solved.acute.a, solved.delayed.a) == (pytest.approx(0.02, abs=5e-8), pytest.approx(0.03, abs=5e-8))
        assert solved.calibrate is None

    @pytest.mark.parametrize("v", [0, 0.5, 2])
    @pytest.mark.parametrize("window", [FIRST, LAST])
    def test_the_wanted_probability_comes_out(self, v, window):
        spec = {
            "frailty": v,
            "background": 0.0005,
            "cumulative": {"a": 0.002},
            "acute": {"tau": 0.5, "ratio": 1.5},
            "calibrate": {"dose": 3, "frequency": 2, "probability": 0.3, "acute_share": 0.25},
        }
        truth = bound({"hazard": spec}, GRID, window)
        k = GRID.index(Regimen(3, 2))
        assert truth.probability[k] == pytest.approx(0.3, rel=1e-12)
        law = truth.courses[k].law
        acute = law.model_copy(update={"delayed": Delayed(a=0), "background": 0.0, "cumulative": None})
        delayed = law.model_copy(update={"acute": Acute(a=0), "background": 0.0, "cumulative": None})
        course = (GRID.schedule(k), GRID.amount(k), truth.ends[k])
        risks = float(acute.risk(*course)), float(delayed.risk(*course))
        assert risks[0] / sum(risks) == pytest.approx(0.25)

    def test_all_acute(self):
        truth = bound({"hazard": {"calibrate": {"probability": 0.2, "acute_share": 1}}})
        assert truth.courses[0].law.delayed.a == 0
        assert truth.onset(0, 0.19) < 2

    @pytest.mark.parametrize("part", ["acute", "delayed"])
    def test_contradicting_sizes(self, part):
        spec = {part: {"a": 0.1}, "calibrate": {"probability": 0.2, "acute_share": 0.5}}
        with pytest.raises(ValidationError, match=f"calibrate solves for a: remove a from {part}"):
            read({"hazard": spec})

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ({"background": 0.1, "calibrate": {"probability": 0.2, "acute_share": 0.5}}, "alone give .* of 0.9392"),
            ({"calibrate": {"dose": 2, "probability": 0.2, "acute_share": 0.5}}, "dose 2, frequency 1 does not exist"),
        ],
    )
    def test_what_cannot_be_calibrated(self, spec, message):
        with pytest.raises(DesignError, match=f"truth.hazard.calibrate: .*{message}"):
            bound({"hazard": spec})

    def test_a_term_without_effect(self):
        placebo = RegimenGrid(doses=(0.0, 1.0), schedules=((0,),))
        with pytest.raises(DesignError, match="has no effect within the window"):
            bound({"hazard": {"calibrate": {"probability": 0.2, "acute_share": 0.5}}}, placebo)


class TestTolerance:
    def test_sampled_frequencies_and_common_random_numbers(self):
        n, rng = 200_000, np.random.default_rng(20240317)
        truth = bind(hazard(0.02, 0.03, 1.0), THREE, FIRST)
        u = tolerance_from(rng.exponential(size=n), rng.gamma(1.0, 1.0, size=n), 1.0)
        p = truth.probability
        dlt = u[:, None] <= p
        np.testing.assert_array_less(np.abs(dlt.mean(axis=0) - p), 4 * np.sqrt(p * (1 - p) / n))
        np.testing.assert_allclose(dlt.mean(axis=0), [0.0481, 0.0908, 0.1509], atol=0.004)

        paired = dlt[:, 2].astype(float) - dlt[:, 1]
        independent = dlt[:, 2].astype(float) - (rng.random(n) <= p[1])
        ratio = paired.var() / independent.var()
        assert ratio == pytest.approx(0.27, abs=0.015)

    @pytest.mark.parametrize("v", [0.0, 0.5, 3.0])
    def test_it_is_uniform(self, v):
        n, rng = 100_000, np.random.default_rng(5)
        z = rng.gamma(1 / v, v, size=n) if v else 1.0
        u = tolerance_from(rng.exponential(size=n), z, v)
        reached = np.array([(u <= q).mean() for q in np.arange(0.1, 1, 0.1)])
        np.testing.assert_allclose(reached, np.arange(0.1, 1, 0.1), atol=4 * 0.5 / math.sqrt(n))

    @pytest.mark.parametrize("v", [0.0, 1.0])
    @pytest.mark.parametrize("xi", [0.004, 0.021, 0.05, 0.12])
    def test_onset_is_when_the_hazard_reaches_what_is_tolerated(self, v, xi):
        truth = bind(hazard(0.02, 0.03, v), THREE, FIRST)
        u = float(tolerance_from(xi, 1.0, v))
        for k, course in enumerate(truth.courses):
            day = truth.onset(k, u)
            whole = float(course.law.risk(course.schedule, course.amount, course.end))
            assert (day is not None) == (xi <= whole)
            if day is not None:
                assert float(course.law.risk(course.schedule, course.amount, day)) == pytest.approx(xi, abs=1e-8)

    def test_no_dlt_is_answered_at_once(self):
        truth = bind(hazard(0.02, 0.03, 1.0), GRID, FIRST)
        given = (0, 2, 4, 7, 9)
        truth.onset(14, 0.99, given)
        for call in (lambda: truth.onset(14, 0.99), lambda: truth.onset(14, 0.99, given)):
            assert min(timeit.repeat(call, number=200, repeat=5)) / 200 < 20e-6


LAWS = [
    {"law": "uniform"},
    {"law": "weibull", "late_share": 0.5},
    {"law": "weibull", "late_share": 0.9},
    {"law": "acute", "tau": 0.25},
    {"law": "acute", "tau": 100},
    {"law": "hazard", "acute": {"a": 0.02}, "delayed": {"a": 0.03}, "frailty": 1},
    {"law": "hazard", "cumulative": {"a": 0.02, "exponent": 2}},
]


class TestOnset:
    @pytest.mark.parametrize("onset", LAWS)
    @pytest.mark.parametrize("window", [FIRST, LAST])
    def test_times_follow_the_law(self, onset, window):
        truth = bound({"table": [0.0, 0.3, 1.0], "onset": onset}, window=window)
        u = np.linspace(0, 1, 2001)[1:]
        for k, p in enumerate([0.0, 0.3, 1.0]):
            days = truth.onsets(k, u)
            np.testing.assert_array_equal(np.isnan(days), u > p)
            inside = ~np.isnan(days)
            assert np.all((days[inside] >= 0) & (days[inside] <= truth.ends[k]))
            assert np.all(np.diff(days[inside]) >= 0)
            # inf{t : F(t) >= u}: u is reached by then, and not before
            assert np.all(truth.cumulative(k, days[inside]) >= u[inside] - 1e-12)
            assert np.all(truth.cumulative(k, days[inside] - 2e-8)[days[inside] > 2e-8] < u[inside & (days > 2e-8)])

    def test_uniform(self):
        truth = bound([0.1, 0.2, 0.4], window=LAST)
        assert truth.onset(2, 0.1) == pytest.approx(49 / 4, abs=1e-7)
        assert truth.onset(0, 0.05) == pytest.approx(14, abs=1e-7)

    def test_weibull_halves(self):
        law = WeibullOnset()
        shape = law.shape(0.25)
        assert shape == pytest.approx(1.10730, abs=5e-6)
        scale = (-math.log1p(-0.25)) ** (-1 / shape)
        assert scale == pytest.approx(3.08075, abs=5e-6)
        truth = bound({"table": [0.25, 0.25, 0.25], "onset": "weibull"})
        day = np.array([3.5, 7, 14, 21, 28])
        np.testing.assert_allclose(truth.cumulative(0, day), 1 - np.exp(-((day / 28 / 3.08075) ** 1.10730)), atol=2e-6)

    @pytest.mark.parametrize("late", [0.01, 0.3, 0.5, 0.8, 0.99])
    @pytest.mark.parametrize("p", [1e-9, 0.05, 0.5, 0.999, 1.0])
    def test_weibull_share_of_the_second_half(self, p, late):
        truth = bound({"table": [p, p, p], "onset": {"law": "weibull", "late_share": late}})
        assert truth.cumulative(0, 14) == pytest.approx(p * (1 - late), rel=1e-9)
        assert truth.cumulative(0, 28) == p

    def test_weibull_of_a_rare_dlt_with_equal_halves_is_uniform(self):
        truth = bound({"table": [1e-9] * 3, "onset": "weibull"})
        np.testing.assert_allclose(truth.cumulative(0, [7, 21]), [0.25e-9, 0.75e-9], rtol=1e-6)

    def test_half_the_onsets_fall_in_each_half(self):
        truth = bound({"table": [0.4, 0.5, 0.6], "onset": "weibull"})
        days = truth.onsets(2, (np.arange(60_000) + 0.5) / 100_000)
        assert np.mean(days <= 14) == pytest.approx(0.5, abs=1e-4)

    def test_acute(self):
        truth = bound({"table": [0.4, 0.4, 0.4], "onset": {"law": "acute", "tau": 0.25}})
        assert truth.onset(0, 0.2) == pytest.approx(0.25 * math.log(2), abs=1e-7)
        assert truth.onset(0, 0.4) <= 28
        slow = bound({"table": [0.4, 0.4, 0.4], "onset": {"law": "acute", "tau": 28}})
        assert slow.onset(0, 0.2) == pytest.approx(-28 * math.log(1 - 0.5 * (1 - math.exp(-1))), abs=1e-7)

    def test_shape_of_a_hazard(self):
        spec = {"acute": {"a": 0.02}, "delayed": {"a": 0.03}}
        shaped = bound({"table": [0.1, 0.2, 0.3], "onset": {"law": "hazard", **spec}})
        law = Hazard.model_validate(spec)
        day = np.array([0.5, 3, 7.2, 20, 28])
        for k, p in enumerate((0.1, 0.2, 0.3)):
            risk = law.risk(THREE.schedule(k), 2.0, day)
            np.testing.assert_allclose(shaped.cumulative(k, day), p * risk / risk[-1], rtol=1e-12)

    def test_shape_of_a_hazard_ignores_its_size(self):
        onset = {"law": "hazard", "acute": {"a": 0.02}, "delayed": {"a": 0.03}}
        tenfold = {"law": "hazard", "acute": {"a": 0.2}, "delayed": {"a": 0.3}, "frailty": 2}
        solved = {"law": "hazard", "calibrate": {"probability": 0.1, "acute_share": 0.4}}
        days = [
            bound({"table": [0.1, 0.2, 0.3], "onset": law}).onset(2, 0.22)
            for law in (onset, tenfold, solved)
        ]  # fmt: skip
        assert days[1] == pytest.approx(days[0], abs=1e-6)
        # by day 28 a single infusion has spent both terms: an acute share of 0.4 is the same 2 to 3
        assert days[2] == pytest.approx(days[0], abs=1e-6)

    def test_a_shape_without_hazard(self):
        with pytest.raises(DesignError, match=r"truth\.onset: no hazard to place DLTs in time"):
            bound({"table": [0.1, 0.2, 0.3], "onset": {"law": "hazard", "background": 0}})
        assert bound({"table": [0, 0, 0], "onset": {"law": "hazard", "background": 0}}).onset(0, 0.5) is None

    def test_cumulative_dose_acts_at_the_infusion(self):
        truth = bound({"hazard": {"cumulative": {"a": 0.02}}})
        steps = 1 - np.exp(-0.02 * np.arange(1, 5))
        assert [truth.onset(2, float(step) - 1e-6) for step in steps] == [0.0, 7.0, 14.0, 21.0]
        np.testing.assert_allclose(truth.cumulative(2, [-1, 0, 6.9, 7, 20, 21, 99]), [0, *steps[[0, 0, 1, 2, 3, 3]]])

    def test_a_step_on_any_day_is_exact(self):
        truth = bound({"hazard": {"background": 0.001, "cumulative": {"a": 0.02}}}, GRID)
        for day in (2, 4, 7, 9, 11):
            before, after = truth.cumulative(10, [day - 1e-9, day])
            assert truth.onset(10, float(before + after) / 2) == day

    def test_nothing_before_the_first_infusion(self):
        for onset in LAWS:
            truth = bound({"table": [0.1, 0.2, 0.3], "onset": onset})
            np.testing.assert_array_equal(truth.cumulative(2, [-1, 28, 40]), [0, 0.3, 0.3])

    def test_infusions_after_the_window_do_not_count(self):
        late = RegimenGrid(doses=(2.0,), schedules=((0,), (0, 30)))
        truth = bind(hazard(0.02, 0.03), late, FIRST)
        assert truth.probability[0] == truth.probability[1]
        assert bind(hazard(0.02, 0.03), late, LAST).probability[1] > truth.probability[1]

    def test_scalar_and_vector_agree(self):
        truth = bind(hazard(0.04, 0.08, 1.0), THREE, LAST)
        u = np.linspace(0, 0.5, 101)
        for k in range(3):
            scalar = [truth.onset(k, float(value)) for value in u]
            vector = truth.onsets(k, u)
            np.testing.assert_allclose([np.nan if day is None else day for day in scalar], vector, atol=2e-8)
            assert [truth.occurs(k, float(value)) for value in u] == (~np.isnan(vector)).tolist()
        assert truth.onsets(2, np.array([[0.01, 0.9]])).shape == (1, 2)
        assert truth.onsets(2, []).shape == (0,)


class TestGiven:
    """Infusions in fact given, when the course was not as planned."""

    def test_a_missed_infusion_lowers_the_risk(self):
        truth = bind(hazard(0.02, 0.03), THREE, FIRST)
        between = float(truth.probability[1] + truth.probability[2]) / 2
        assert truth.occurs(2, between)
        assert truth.onset(2, between) > 7
        assert truth.onset(2, between, given=(0, 7)) is None
        assert truth.course(2, (0, 7)).probability == truth.probability[1]
        early = float(truth.cumulative(2, 5))
        assert truth.onset(2, early, given=(0, 7)) == pytest.approx(truth.onset(2, early), abs=2e-8)

    def test_the_planned_course_is_itself(self):
        truth = bind(hazard(0.02, 0.03), THREE, FIRST)
        assert truth.onset(2, 0.1, given=(0, 7, 14, 21)) == truth.onset(2, 0.1)
        assert truth.course(2, (0, 7)) is truth.course(2, (0, 7))

    def test_it_does_not_change_a_table(self):
        for onset in LAWS:
            truth = bound({"table": [0.1, 0.2, 0.3], "onset": onset})
            assert truth.onset(2, 0.29, given=(0,)) == truth.onset(2, 0.29)

    def test_a_late_last_infusion_moves_the_window(self):
        truth = bind(hazard(0.02, 0.03), THREE, LAST)
        assert truth.course(2, (0, 7, 14, 24)).end == 52
        assert truth.course(2, (0, 7)).end == 49
        assert truth.course(2, ()).end == 49
        assert truth.onset(2, 1e-9, given=()) is None
        assert bind(hazard(0.02, 0.03), THREE, FIRST).course(2, (0, 7, 14, 24)).end == 28

    def test_cumulative_dose_counts_what_was_given(self):
        truth = bound({"hazard": {"cumulative": {"a": 0.02}}})
        assert truth.course(2, (0, 14)).probability == pytest.approx(1 - math.exp(-0.04))


NESTED = RegimenGrid(doses=(1.0, 2.0, 4.0), schedules=((0,), (0, 7), (0, 7, 14), (0, 7, 14, 21)))


class TestCoupling:
    @given(
        u=st.floats(0, 1),
        v=st.sampled_from([0.0, 0.5, 2.0]),
        background=st.floats(1e-3, 1e-2),
        acute=st.floats(0, 0.5),
        delayed=st.floats(0, 0.5),
        total=st.floats(0, 0.2),
        ratio=st.floats(0.3, 3),
        rise=st.floats(0.1, 30),
        days=st.integers(1, 60),
        anchor=st.sampled_from(["first", "last"]),
    )
    @settings(max_examples=60, deadline=None)
    def test_more_hazard_is_never_later(self, u, v, background, acute, delayed, total, ratio, rise, days, anchor):
        truth = HazardTruth(
            hazard=Hazard(
                background=background,
                acute=Acute(a=acute, ratio=ratio),
                delayed=Delayed(a=delayed, kernel=Triangular(rise=rise)),
                cumulative=CumulativeDose(a=total, exponent=1.5),
                frailty=v,
            )
        )
        self.coupled(bind(truth, NESTED, Window(days=days, anchor=anchor)), u)

    @given(
        u=st.floats(0, 1),
        low=st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted),
        onset=st.sampled_from(["uniform", {"law": "acute", "tau": 3}]),
    )
    @settings(max_examples=60, deadline=None)
    def test_a_higher_probability_is_never_later_under_one_law(self, u, low, onset):
        self.coupled(bound({"table": low, "onset": onset}, DOSES), u, DOSES)

    def coupled(self, truth: BoundTruth, u: float, grid: RegimenGrid = NESTED) -> None:
        onsets = [truth.onset(k, u) for k in range(grid.size)]
        for k, day in enumerate(onsets):
            assert truth.occurs(k, u) == (u <= truth.probability[k]) == (day is not None)
            assert day is None or 0 <= day <= truth.ends[k]
        for a, b in np.argwhere(grid.at_most):
            if onsets[a] is not None:
                assert onsets[b] is not None
                assert onsets[b] <= onsets[a] + 1e-6

    def test_a_reversed_order_would_be_noticed(self):
        with pytest.raises(AssertionError):
            self.coupled(bound([0.5, 0.3, 0.2], DOSES), 0.25, DOSES)


class Study(BaseModel):
    truth: Truth


class TestReading:
    def test_yaml(self):
        text = "truth: {table: [[0.05, 0.1], [0.1, 0.2]], onset: {law: weibull, late_share: 0.7}}"
        truth = Study.model_validate(YAML().load(io.StringIO(text))).truth
        assert truth == TableTruth(table=((0.05, 0.1), (0.1, 0.2)), onset=WeibullOnset(late_share=0.7))
        text = (
            "truth:\n  hazard:\n    acute: {a: .02}\n    delayed: {a: .03, kernel: {law: weibull, shape: 2, scale: 9}}"
        )
        truth = Study.model_validate(YAML(typ="safe").load(text)).truth
        assert isinstance(truth, HazardTruth)
        assert truth.hazard.delayed.kernel.scale == 9

    @pytest.mark.parametrize("grid", [DOSES, THREE])
    @pytest.mark.parametrize(
        "value",
        [
            [0.05, 0.15, 0.3],
            (0.05, 0.15, 0.3),
            np.array([0.05, 0.15, 0.3]),
            {"table": [0.05, 0.15, 0.3]},
            {"table": [[0.05, 0.15, 0.3]]},
            {"table": [[0.05], [0.15], [0.3]]},
            TableTruth(table=[0.05, 0.15, 0.3]),
        ],
    )
    def test_a_list_serves_either_axis(self, value, grid):
        assert bind(Study(truth=value).truth, grid, FIRST).probability.tolist() == [0.05, 0.15, 0.3]

    def test_grid_rows_are_frequencies(self):
        table = [[0.01, 0.02, 0.03, 0.04, 0.05], [0.02, 0.03, 0.04, 0.05, 0.06], [0.03, 0.04, 0.05, 0.06, 0.07]]
        truth = bound(table, GRID)
        assert truth.probability[GRID.index(Regimen(dose=4, frequency=2))] == 0.05
        assert truth.probability[GRID.index(Regimen(dose=2, frequency=3))] == 0.04
        assert truth.probability.dtype == np.float64

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([0.1, 1.2], "1.2 in row 1, column 2 is not a probability between 0 and 1"),
            ([[0.1, 0.2], [-0.1, 0.2]], "-0.1 in row 2, column 1 is not a probability"),
            ([5, 15, 30], r"5 in row 1, column 1 .* \(write 25 % as 0.25\)"),
            ([0.1, float("nan")], "nan in row 1, column 2 is not a probability"),
            ([0.1, "0.2"], "'0.2' in row 1, column 2 is not a probability"),
            ([True, 0.2], "True in row 1, column 1 is not a probability"),
            ([0.1, [0.2]], r"\[0.2\] in row 1, column 2 is not a probability"),
            ([[0.1, 0.2], [0.1]], "needs the same number of columns"),
            ([[], []], "needs the same number of columns"),
            ([], "one row per frequency level"),
            ({"table": 0.2}, "one row per frequency level"),
            ({"table": [0.1], "hazard": {"background": 0}}, "either a table, with or without onset, or a hazard"),
            ({"hazard": {"background": 0}, "onset": "uniform"}, "or a hazard, which has its own"),
            ({"onset": "uniform"}, "either a table"),
            (0.3, "either a table"),
            ({"table": [0.1], "onset": "gamma"}, "'uniform', 'weibull', 'acute', 'hazard'"),
            ({"table": [0.1], "onset": {"law": "weibull", "late_share": 1}}, "less than 1"),
            ({"table": [0.1], "onset": {"law": "uniform", "tau": 1}}, "Extra inputs are not permitted"),
            ({"table": [0.1], "onst": "uniform"}, "Extra inputs are not permitted"),
            ({"hazard": {}}, "nothing causes a DLT"),
            ({"hazard": {"acute": {"tau": 0.1}}}, "a is missing from acute: give it, or calibrate"),
            ({"hazard": {"acute": {"a": -1}}}, "greater than or equal to 0"),
            ({"hazard": {"background": float("inf")}}, "finite number"),
            ({"hazard": {"calibrate": {"probability": 1, "acute_share": 0.5}}}, "less than 1"),
        ],
    )
    def test_bad_input(self, value, message):
        with pytest.raises(ValidationError, match=message):
            read(value)

    @pytest.mark.parametrize(
        ("value", "grid", "message"),
        [
            ([0.1, 0.2], DOSES, r"1 x 2 probabilities for 1 x 3 regimens \(frequencies x doses\) \(give 1 rows"),
            (
                [[0.1] * 3] * 5,
                GRID,
                "5 x 3 probabilities for 3 x 5 .*; it looks transposed .*give 3 rows .* of 5 doses",
            ),
            ([0.1] * 15, GRID, "1 x 15 probabilities for 3 x 5"),
            ([[0.1] * 2] * 2, RegimenGrid((1, 2, 3, 4), ((0,),)), "2 x 2 probabilities for 1 x 4"),
        ],
    )
    def test_a_table_that_does_not_fit(self, value, grid, message):
        with pytest.raises(DesignError, match=f"truth.table: {message}"):
            bound(value, grid)

    def test_onset_of_a_table_defaults_to_uniform(self):
        assert read([0.1, 0.2]) == read({"table": [[0.1, 0.2]], "onset": "uniform"})

    def test_truths_are_frozen_and_round_trip(self):
        for value in ([0.1, 0.2, 0.3], hazard(0.02, 0.03, 1).model_dump(), {"table": [0.1] * 3, "onset": LAWS[5]}):
            truth = read(value)
            assert read(truth.model_dump(exclude_unset=True)) == truth
            assert read(TRUTHS.dump_python(truth, mode="json", exclude_unset=True)) == truth
            with pytest.raises(ValidationError, match="frozen"):
                truth.table = ((0.1,),)  # type: ignore
        assert TRUTHS.json_schema()["oneOf"]

    def test_a_bound_truth_can_be_sent_to_another_process(self):
        truth = bind(hazard(0.02, 0.03, 1), THREE, FIRST)
        again = pickle.loads(pickle.dumps(truth))
        assert again.onset(2, 0.1, (0, 7, 14)) == truth.onset(2, 0.1, (0, 7, 14))


class TestWarnings:
    def test_the_first_pair_out_of_order_is_named(self):
        (line,) = read([0.1, 0.3, 0.2]).warnings(DOSES)
        assert line == "DLT probability falls from 0.3 at dose 2 to 0.2 at dose 3"
        table = [[0.1, 0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.05, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 0.1]]
        (line,) = read(table).warnings(GRID)
        assert line == "DLT probability falls from 0.1 at dose 3, frequency 1 to 0.05 at dose 3, frequency 2"

    def test_a_grid_is_only_partially_ordered(self):
        assert read([[0.1, 0.3], [0.2, 0.3]]).warnings(RegimenGrid((1, 2), ((0,), (0, 7)))) == ()
        assert hazard(0.02, 0.03).warnings(GRID) == ()

    def test_a_hazard_may_be_out_of_order_in_its_window(self):
        later = RegimenGrid(doses=(2.0,), schedules=((0, 7), (0, 20, 25)))
        truth = read({"hazard": {"delayed": {"a": 0.1}}})
        assert "at frequency 1 to" in truth.warnings(later)[0]
        assert truth.warnings(later, LAST) == ()


@pytest.mark.parametrize("onset", ["uniform", "acute", {"law": "weibull", "late_share": 0.7}])
def test_the_day_of_onset_is_the_whole_day_of_the_onset_time(onset):
    grid = RegimenGrid(doses=(1.0, 2.0), schedules=((0,),))
    truth = bind(TableTruth(table=[[0.2, 0.7]], onset=onset), grid, Window())
    for u in np.random.default_rng(5).uniform(0, 0.8, 300):
        time = truth.onset(1, float(u))
        stretched = 1.0 if onset == "acute" else 29 / 28  # 29 whole days, 0 to 28, in a window of 28
        assert truth.onset_day(1, float(u)) == (None if time is None else int(time * stretched))


@pytest.mark.parametrize(("window", "days"), [(FIRST, 29), (LAST, 50)])
def test_every_whole_day_of_the_window_is_as_likely_and_its_last_day_belongs_to_it(window, days):
    """A window of 28 days has the whole days 0 to 28; each begins the same share of the DLTs."""
    grid = RegimenGrid(doses=(1.0,), schedules=((0, 7, 14, 21),))
    truth = bind(TableTruth(table=[[0.29]]), grid, window)
    tolerances = (np.arange(29_000) + 0.5) / 100_000
    found = np.bincount([truth.onset_day(0, u) for u in tolerances])
    assert len(found) == days == truth.ends[0] + 1
    assert np.abs(found - 29_000 / days).max() <= 1
    assert truth.onset_day(0, 0.29) == truth.ends[0]
    assert truth.onset_day(0, np.nextafter(0.29, 1)) is None
    mean = found @ np.arange(days) / found.sum()
    assert mean == pytest.approx(truth.ends[0] / 2, abs=0.01)  # as in continuous time


def test_reactions_to_an_infusion_stay_on_its_day():
    """Laws anchored on infusions are not stretched: a quarter of a day after the infusion is day 0."""
    grid = RegimenGrid(doses=(1.0,), schedules=((0,),))
    truth = bind(TableTruth(table=[[0.4]], onset={"law": "acute", "tau": 0.25}), grid, FIRST)
    days = np.bincount([truth.onset_day(0, u) for u in np.linspace(0.0005, 0.3995, 400)])
    assert days[0] / days.sum() == pytest.approx(1 - math.exp(-4), abs=0.003)


def test_a_jump_at_an_infusion_falls_on_the_day_of_the_infusion():
    grid = RegimenGrid(doses=(2.0,), schedules=((0, 7, 14),))
    hazard = {"cumulative": {"a": 0.2, "exponent": 1.5}, "reference_dose": 2}
    truth = bind(HazardTruth(hazard=hazard), grid, Window())
    days = {truth.onset_day(0, u) for u in np.linspace(0.001, float(truth.probability[0]), 200)}
    assert days == {0, 7, 14}
