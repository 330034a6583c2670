"""Random numbers: the same key gives the same number, whatever is drawn beside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from escalation.streams import BLOCK, PURPOSES, Numbers, numbers_of, tolerances, uniforms

seeds = st.integers(0, 2**63)
purposes = st.sampled_from(PURPOSES)


@given(
    seed=seeds,
    purpose=purposes,
    block=st.integers(0, 5),
    series=st.integers(0, 5),
    first=st.integers(0, 10**9),
    size=st.integers(1, 40),
    data=st.data(),
)
def test_a_chunk_is_a_slice_of_the_whole(seed, purpose, block, series, first, size, data):
    whole = uniforms(seed, purpose, block, first, size, series=series)
    assert whole.shape == (size, BLOCK)
    assert ((whole >= 0) & (whole < 1)).all()
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    part = uniforms(seed, purpose, block, first + start, stop - start, series=series)
    np.testing.assert_array_equal(part, whole[start:stop])


@given(seed=seeds, purpose=purposes, replicate=st.integers(0, 500))
def test_replicates_lie_one_after_the_other_in_one_stream(seed, purpose, replicate):
    """Without skipping: the generator of a key, run from its beginning."""
    key = np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose), 0, 0))
    stream = np.random.Generator(np.random.Philox(key)).random((replicate + 1) * BLOCK)
    np.testing.assert_array_equal(uniforms(seed, purpose, 0, replicate, 1)[0], stream[-BLOCK:])


@given(seed=seeds, first=st.integers(0, 10**6), participants=st.integers(1, 200))
def test_tolerances_do_not_depend_on_how_many_are_asked_for(seed, first, participants):
    some, more = tolerances(seed, first, 3, participants), tolerances(seed, first, 3, participants + 70)
    assert some.shape == (3, participants)
    np.testing.assert_array_equal(some, more[:, :participants])
    np.testing.assert_array_equal(tolerances(seed, first + 2, 1, participants)[0], some[2])


@given(seed=seeds, first=st.integers(0, 10**6), size=st.integers(1, 5), data=st.data())
def test_numbers_of_one_replicate_are_those_of_the_block(seed, first, size, data):
    drawn = data.draw(st.lists(purposes, unique=True))
    for row, numbers in enumerate(numbers_of(seed, drawn, first, size)):
        assert numbers.replicate == first + row
        for _ in range(4):
            purpose, arrival, series = data.draw(st.tuples(purposes, st.integers(0, 300), st.integers(0, 3)))
            block, place = divmod(arrival, BLOCK)
            expected = uniforms(seed, purpose, block, first + row, 1, series=series)[0, place]
            assert numbers.at(purpose, arrival, series) == expected
            assert Numbers(seed, first + row).at(purpose, arrival, series) == expected


def test_more_than_one_batch_of_replicates():
    listed = [numbers.at("tolerance", 5) for numbers in numbers_of(3, ["tolerance"], 10, 600)]
    np.testing.assert_array_equal(listed, uniforms(3, "tolerance", 0, 10, 600)[:, 5])


def test_keys_are_different_streams():
    """Seed, purpose, series and block each change every number, and no two streams go together."""
    keys = [
        (seed, purpose, block, series)
        for seed in (1, 2)
        for purpose in PURPOSES
        for block in (0, 1)
        for series in (0, 1)
    ]
    drawn = np.array([uniforms(s, p, b, 0, 60, series=r).reshape(-1) for s, p, b, r in keys])
    assert len(np.unique(drawn)) == drawn.size
    correlation = np.corrcoef(drawn) - np.eye(len(keys))
    assert np.abs(correlation).max() < 5 / np.sqrt(drawn.shape[1])


@pytest.mark.parametrize("purpose", PURPOSES)
def test_numbers_are_uniform_over_arrivals_and_over_replicates(purpose):
    drawn = uniforms(20, purpose, 0, 0, 2000)
    assert kstest(drawn.reshape(-1), "uniform").pvalue > 1e-4
    assert kstest(drawn[:, 0], "uniform").pvalue > 1e-4
    assert kstest(drawn.mean(axis=1), "norm", (0.5, np.sqrt(1 / 12 / BLOCK))).pvalue > 1e-4
    neighbours = np.corrcoef(drawn[:-1].reshape(-1), drawn[1:].reshape(-1))[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(drawn.size)


def test_the_order_of_the_purposes_is_part_of_the_key():
    """Another order would change every published number; new purposes go to the end."""
    assert PURPOSES[:7] == (
        "tolerance",
        "accrual",
        "screening",
        "drop_out",
        "missed_infusion",
        "allocation",
        "bootstrap",
    )
