"""The surface-free design: posteriors against exact sums and a Gibbs sampler, the rule by hand, trials, properties."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import beta

from designs.surface_free import SurfaceFree, SurfaceFreeParameters
from designs.surface_free_model import SurfacePosterior
from escalation.decision import Action
from escalation.design import Setting
from escalation.errors import DesignError
from escalation.exact import compile_graph
from escalation.guards import MaximumSize
from escalation.regimens import RegimenGrid
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.sampled import sample
from escalation.tally import Tally
from escalation.verify import verify

TRUTH = [[0.06, 0.14, 0.28], [0.12, 0.26, 0.42]]

PUBLISHED_PRIOR = {
    "prior_doses": [1 - (1 - p) * 0.95 for p in (0.1, 0.2, 0.3)],
    "prior_frequencies": [1 - (1 - p) * 0.9 for p in (0.05, 0.1, 0.2)],
}
"""Of the authors' program for three by three: the agents alone have DLT probabilities .1 .2 .3 and .05 .1 .2."""


def grid_of(doses: int, frequencies: int) -> RegimenGrid:
    return RegimenGrid(
        doses=tuple(range(1, doses + 1)), schedules=tuple(tuple(range(f + 1)) for f in range(frequencies))
    )


def surface_free(doses=3, frequencies=3, **parameters) -> SurfaceFree:
    setting = Setting(grid_of(doses, frequencies), cohort_size=3, start=0, max_patients=36)
    return SurfaceFree(SurfaceFreeParameters.model_validate(parameters), setting)


def seen(*levels, current, doses=3, frequencies=3) -> Tally:
    """A row from (dose, frequency, evaluable, DLTs)."""
    n, dlt = np.zeros((2, 1, doses * frequencies), int)
    for dose, often, evaluable, toxic in levels:
        n[0, (often - 1) * doses + dose - 1] += evaluable
        dlt[0, (often - 1) * doses + dose - 1] += toxic
    return Tally.of(n=n, dlt=dlt, current=[(current[1] - 1) * doses + current[0] - 1])


def next_level(design: SurfaceFree, tally: Tally) -> tuple[list[str], str]:
    decided = design.decide(tally)
    levels = [design.grid.level(int(k)) for k in np.flatnonzero(decided.allocation[0])]
    return levels, design.reasons[int(decided.reason[0])].code.removeprefix("surface_free.")


# the posterior ---------------------------------------------------------------------------------


def exact_means(n, dlt, a, b, doses, frequencies):
    """Posterior means as sums of fractions: every (1 - q)^y of the likelihood is multiplied out, and the moments of a
    beta variable are ratios of products."""
    a, b = [Fraction(x).limit_denominator(10**6) for x in a], [Fraction(x).limit_denominator(10**6) for x in b]
    ways = [
        [1 if c == 0 or 1 <= c <= d or doses <= c < doses + f else 0 for c in range(len(a))]
        for f, d in product(range(frequencies), range(doses))
    ]

    def moment(powers):
        value = Fraction(1)
        for c, power in enumerate(powers):
            for k in range(power):
                value *= (a[c] + k) / (a[c] + b[c] + k)
        return value

    terms = []
    for minus in product(*(range(toxic + 1) for toxic in dlt)):
        sign = Fraction(1)
        powers = [0] * len(a)
        for k, m in enumerate(minus):
            sign *= (-1) ** m * comb(int(dlt[k]), m)
            powers = [p + (int(n[k] - dlt[k]) + m) * on for p, on in zip(powers, ways[k], strict=True)]
        terms.append((sign, powers))

    def expectation(extra):
        return sum(sign * moment([p + e for p, e in zip(powers, extra, strict=True)]) for sign, powers in terms)

    total = expectation([0] * len(a))
    connections = [expectation([int(c == k) for c in range(len(a))]) / total for k in range(len(a))]
    return [float(c) for c in connections], [float(1 - expectation(way) / total) for way in ways]


@pytest.mark.parametrize(
    ("doses", "frequencies", "n", "dlt"),
    [
        (3, 2, [3, 6, 3, 6, 3, 0], [0, 2, 1, 1, 1, 0]),
        (2, 3, [3, 6, 3, 6, 3, 0], [0, 2, 1, 1, 1, 0]),  # the chain runs along the frequencies
        (3, 3, [3, 6, 0, 3, 9, 3, 0, 3, 0], [0, 1, 0, 1, 3, 1, 0, 2, 0]),
        (4, 1, [3, 3, 9, 6], [0, 0, 2, 3]),
        (5, 3, [3, 3, 3, 3, 0, 0, 3, 3, 0, 0, 3, 3, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 2, 0, 0, 1, 1, 0, 0, 0]),
        (2, 2, [3, 0, 0, 0], [3, 0, 0, 0]),
    ],
)
def test_means_are_those_of_the_multiplied_out_likelihood(doses, frequencies, n, dlt):
    count = doses + frequencies - 1
    mean = np.array([0.9, 0.8, 0.95, 0.85, 0.7, 0.9, 0.8])[:count]
    a, b = 4 * mean, 4 * (1 - mean)
    connections, means = exact_means(n, dlt, a, b, doses, frequencies)
    found = SurfacePosterior(mean, 4.0, (frequencies, doses)).summaries(np.array([n]), np.array([dlt]), 0.3)
    assert found.connections[0] == pytest.approx(np.array(connections), abs=1e-6)
    assert found.mean[0] == pytest.approx(np.array(means), abs=1e-6)


def test_posteriors_are_those_of_a_gibbs_sampler(golden):
    for case in golden("surface_free_gibbs"):
        given, expected = case["input"], case["output"]
        model = SurfacePosterior(
            np.array(given["prior_mean"]), given["strength"], (given["frequencies"], given["doses"])
        )
        found = model.summaries(np.array([given["n"]]), np.array([given["dlt"]]), given["target"])
        for name in ("connections", "mean", "above"):
            room = 4 * expected["se"][name] + (0.001 if name == "above" else 1e-5)
            assert getattr(found, name)[0] == pytest.approx(np.array(expected[name]), abs=room)


@pytest.mark.parametrize("strength", [2.5, 4.0, 10.0])
@pytest.mark.parametrize("cut", [0.1, 0.3, 0.6])
def test_shares_above_a_cut_are_those_of_known_distributions(strength, cut):
    """With data at the lowest regimen only, its connection is beta again; a step with its mean at .5 and strength 2 is
    uniform, so that of the next dose follows by one integral."""
    mean = np.array([0.825, 0.825, 0.9, 0.825, 0.825])
    model = SurfacePosterior(mean, strength, (3, 3))
    n, dlt = np.zeros((2, 1, 9), int)
    n[0, 0], dlt[0, 0] = 6, 2
    a, b = strength * 0.825 + 4, strength * 0.175 + 2
    lowest = beta(a, b)
    found = model.summaries(n, dlt, cut).above[0]
    assert found[0] == pytest.approx(lowest.cdf(1 - cut), abs=1e-6)
    fine = (np.arange(200_000) + 0.5) / 200_000  # quantiles of the step in dose
    step = beta(strength * 0.825, strength * 0.175).ppf(fine)
    with np.errstate(divide="ignore"):
        both = lowest.cdf(np.minimum((1 - cut) / step, 1.0)).mean()
    assert found[1] == pytest.approx(both, abs=2e-4)
    assert found[3] == pytest.approx(both, abs=2e-4)


def test_shares_rise_along_both_axes_and_do_not_depend_on_the_batch():
    rng = np.random.default_rng(4)
    n = 3 * rng.integers(0, 3, (300, 15))
    dlt = rng.binomial(n, 0.3)
    model = SurfacePosterior(np.full(7, 0.825), 4.0, (3, 5))
    found = model.summaries(n, dlt, 0.3)
    cells = found.above.reshape(-1, 3, 5)
    assert (np.diff(cells, axis=1) > -1e-3).all()
    assert (np.diff(cells, axis=2) > -1e-3).all()
    alone = model.summaries(n[17:18], dlt[17:18], 0.3)
    assert alone.above[0] == pytest.approx(found.above[17], abs=1e-12)
    assert alone.mean[0] == pytest.approx(found.mean[17], abs=1e-12)


def test_the_largest_trials_are_resolved():
    rate = 1 - 0.9 * np.outer([1.0, 0.95], [1.0, 0.95, 0.9]).ravel()
    n = np.full((1, 6), 400)  # more than the design admits: the means still hold
    found = SurfacePosterior(np.full(4, 0.8), 4.0, (2, 3)).summaries(n, np.rint(rate * n).astype(int), 0.3)
    assert found.mean[0] == pytest.approx(rate, abs=0.005)


def test_intervals_are_those_of_the_posterior():
    design = surface_free(interval=0.8)
    found = design.estimates(seen((1, 1, 6, 2), current=(1, 1)))
    low, high = 1 - beta(3.3 + 4, 0.7 + 2).ppf([0.9, 0.1])
    assert (found.lower[0, 0], found.upper[0, 0]) == pytest.approx((low, high), abs=0.001)
    assert (found.lower <= found.curve).all()
    assert (found.curve <= found.upper).all()
    for p in (found.lower[0, 4], found.upper[0, 4]):
        above = design.model.summaries(*design_counts((1, 1, 6, 2)), float(p)).above[0, 4]
        assert min(above, 1 - above) == pytest.approx(0.1, abs=0.003)
    assert found.by_regimen["overdose_probability"][0, 0] == pytest.approx(beta(7.3, 2.7).cdf(0.7), abs=1e-6)


def design_counts(*levels):
    tally = seen(*levels, current=(1, 1))
    return tally.n, tally.dlt


def test_the_two_estimates():
    data = seen((1, 1, 3, 0), (2, 1, 3, 1), (2, 2, 3, 2), current=(2, 2))
    product_of_means, posterior_mean = surface_free(), surface_free(estimate="posterior_mean")
    found = product_of_means.posterior(data)
    theta, phi, _, tau, _ = found.connections[0]
    assert product_of_means.estimates(data).curve[0, 4] == pytest.approx(1 - theta * phi * tau, abs=1e-12)
    assert posterior_mean.estimates(data).curve[0, 4] == pytest.approx(found.mean[0, 4], abs=1e-12)
    assert abs(found.mean[0, 4] - (1 - theta * phi * tau)) > 0.002


# the rule --------------------------------------------------------------------------------------


def test_the_prior_of_the_authors_program():
    design = surface_free(**PUBLISHED_PRIOR)
    connections = design.posterior(seen(current=(1, 1))).connections[0]
    assert connections == pytest.approx(np.array([0.855, 0.8 / 0.9, 0.7 / 0.8, 0.9 / 0.95, 0.8 / 0.9]), abs=1e-9)
    assert design.constants()["prior_dlt_probability"][0] == pytest.approx(0.145, abs=1e-9)


def test_the_first_steps_by_hand():
    design = surface_free()
    assert next_level(design, seen(current=(1, 1))) == (["1.1"], "nobody_yet")
    assert next_level(design, seen((1, 1, 3, 0), current=(1, 1))) == (["2.1", "1.2"], "drawn")
    assert next_level(design, seen((1, 1, 3, 1), current=(1, 1))) == (["1.1"], "closest")
    assert next_level(surface_free(ties="dose_first"), seen((1, 1, 3, 0), current=(1, 1))) == (["2.1"], "closest")
    assert next_level(surface_free(ties="frequency_first"), seen((1, 1, 3, 0), current=(1, 1))) == (["1.2"], "closest")


def test_toxicity_at_the_lowest_stops_from_the_first_cohort_and_selects_nothing():
    """The authors' program does not look after the first cohort, judges the end against .20 and counts such trials as
    selections."""
    design = surface_free(overdose_limit=0.7)
    for data in (seen((1, 1, 3, 3), current=(1, 1)), seen((1, 1, 3, 2), (1, 2, 3, 3), current=(1, 2))):
        assert design.decide(data).action[0] == Action.STOP
        assert design.reasons[int(design.decide(data).reason[0])].code == "surface_free.lowest_too_toxic"
        assert not design.select(data).any()
    between = seen((1, 1, 12, 4), current=(1, 1))  # probably above .20, probably not above .30
    assert design.model.summaries(between.n, between.dlt, 0.2).above[0, 0] > 0.7
    assert design.overdose(between)[0, 0] < 0.7
    assert not design.decide(between).stops[0]
    assert design.select(between)[0, 0]


def test_regimens_above_the_limit_are_left_out():
    data = seen((1, 1, 9, 1), (2, 1, 6, 3), current=(1, 1))
    limit = 0.6
    above = surface_free().overdose(data)[0]
    assert above[0] < limit < above[1]
    free = surface_free(overdose_limit=limit, leave_out="lowest_only")
    held = surface_free(overdose_limit=limit)
    assert not held.decide(data).allocation[0][above >= limit].any()
    anywhere = surface_free(overdose_limit=None, reach="anywhere", target=0.5)
    assert next_level(anywhere, data)[0] != next_level(held, data)[0]
    assert not free._over(free.posterior(data))[0].any()
    toxic = seen((1, 1, 6, 5), current=(1, 1))
    assert free.decide(toxic).stops[0]
    assert not surface_free(overdose_limit=None).decide(toxic).stops[0]


def levels_in_reach(here: tuple[int, int], **parameters) -> set[str]:
    design = surface_free(**parameters)
    row = design._within_reach[(here[1] - 1) * 3 + here[0] - 1]
    return {design.grid.level(int(k)) for k in np.flatnonzero(row)}


def test_reach():
    assert levels_in_reach((1, 1)) == {"1.1", "2.1", "1.2"}
    assert levels_in_reach((1, 2)) == {"1.1", "2.1", "1.2", "2.2", "1.3"}
    assert levels_in_reach((2, 2)) == {"1.1", "2.1", "3.1", "1.2", "2.2", "3.2", "1.3", "2.3"}
    # as listed in the authors' program, combinations 1 to 9 with the first agent running fastest
    kept = {
        1: "124",
        2: "12345",
        3: "123456",
        4: "123457",
        5: "12345678",
        6: "123456789",
        7: "12345678",
        8: "123456789",
    }
    for place, allowed in kept.items():
        found = levels_in_reach(((place - 1) % 3 + 1, (place - 1) // 3 + 1), reach="authors_program")
        assert found == {f"{(int(k) - 1) % 3 + 1}.{(int(k) - 1) // 3 + 1}" for k in allowed}
    assert len(levels_in_reach((1, 1), reach="anywhere")) == 9


def test_selection():
    data = seen((1, 1, 6, 0), current=(1, 1))
    assert surface_free().grid.level(int(np.argmax(surface_free().select(data)[0]))) == "2.1"
    assert surface_free(ties="frequency_first").select(data)[0].argmax() == 3
    tried = surface_free(selection="tried").select(data)[0]
    assert np.flatnonzero(tried).tolist() == [0]
    assert not surface_free().select(seen(current=(1, 1))).any()


def test_wrong_parameters_are_refused():
    with pytest.raises(DesignError, match="2 values for 3 levels"):
        surface_free(prior_doses=[0.1, 0.2])
    with pytest.raises(ValueError, match="must lie between 0 and 1 and increase"):
        surface_free(prior_doses=[0.1, 0.1, 0.2])
    with pytest.raises(ValueError, match="must lie between 0 and 1 and increase"):
        surface_free(prior_frequencies=[0.1, 0.5, 1.0])
    with pytest.raises(ValueError, match="give the same number"):
        surface_free(prior_doses=[0.1, 0.2, 0.3], prior_frequencies=[0.2, 0.3, 0.4])
    with pytest.raises(DesignError, match="at most 4 levels on the shorter axis"):
        surface_free(doses=5, frequencies=5)
    with pytest.raises(DesignError, match="more than the 120 this design is integrated for"):
        surface_free().decide(seen((1, 1, 121, 20), current=(1, 1)))
    with pytest.raises(ValueError, match="raise strength, or the connection"):
        surface_free(prior_connection=0.5, strength=3.0)


# trials ----------------------------------------------------------------------------------------


def test_simulated_trials_are_those_of_the_gibbs_sampler(golden):
    """Selections, participants, DLTs and stops of the same trials decided by an independent sampler."""
    for case in golden("surface_free_gibbs_trials"):
        given, expected = case["input"], case["output"]
        design = surface_free(overdose_limit=given["overdose_limit"], **PUBLISHED_PRIOR)
        rows = sample(Rule(design, (MaximumSize(limit=36),)), np.array(given["truth"]), 11, 0, 10_000)
        trials = given["trials"]
        share = np.append(rows.selected.mean(axis=0), (~rows.selected.any(axis=1)).mean())
        theirs = np.append(expected["selected"], expected["stopped"]) / trials
        se = np.sqrt(share * (1 - share) * (1 / trials + 1 / 10_000))
        assert (np.abs(share - theirs) <= 4 * se + 1e-3).all()
        mean = np.array(expected["treated"]) / trials
        variance = np.array(expected["treated_square"]) / trials - mean**2
        se = np.sqrt(variance / trials + rows.n.var(axis=0) / 10_000)
        assert (np.abs(rows.n.mean(axis=0) - mean) <= 4 * se + 1e-3).all()
        se = np.sqrt(rows.dlt.sum(axis=1).var() * (1 / trials + 1 / 10_000))
        assert abs(rows.dlt.sum(axis=1).mean() - expected["dlts"] / trials) <= 4 * se


@pytest.mark.parametrize("estimate", ["product_of_means", "posterior_mean"])
def test_exact_and_sampled_agree(agree, study_of, estimate):
    rule = study_of({"name": "surface_free", "estimate": estimate}, TRUTH, max_patients=15).protocol.rule
    p = np.ravel(TRUTH)
    agree(sample(rule, p, 7, 0, 20_000), TrialRows.exact(compile_graph(rule), p), rule)


def test_properties_on_every_reachable_state(study_of):
    """Broken by 1.1NNN 2.1NNN 3.1NNN 2.2NTT 1.2NTT 2.1NTT: a regimen with two DLTs among three may be left for one that
    is higher on the other axis."""
    proof = verify(study_of({"name": "surface_free"}, TRUTH, max_patients=21).protocol.rule)
    assert {verdict.name for verdict in proof.verdicts if not verdict.holds} == {"no_escalation_after_two_dlts"}
    assert proof.states > 1_000
