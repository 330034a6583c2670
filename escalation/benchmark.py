"""The non-parametric optimal benchmark: what could be selected if every patient's tolerance were seen.

Each simulated participant's latent tolerance reveals the outcome under every regimen. After N
participants the regimen whose observed DLT rate is closest to the target is selected; the share of
correct selections is an upper reference for designs of size N, though not a bound for designs with
prior information.

O'Quigley J, Paoletti X, Maccario J (2002) Biostatistics 3:51-56, doi:10.1093/biostatistics/3.1.51.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from escalation.characteristics import Estimate, Judgement
from escalation.streams import tolerances
from escalation.tally import Floats


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Selection by the optimal benchmark: (K,) shares with their errors, and its correct selection."""

    participants: int
    selection: Floats
    selection_mcse: Floats | None
    correct_selection: Estimate


def benchmark(truth: Floats, judgement: Judgement, participants: int, *, seed: int, trials: int) -> Benchmark:
    """The optimal benchmark on the participants the designs are simulated on.

    Parameters
    ----------
    truth
        (K,) DLT probabilities.
    judgement
        Target, and what counts as correct.
    participants
        N, each seen under every regimen.
    seed, trials
        The keyed participants of the sampled engine.

    Ties are shared equally among the tied regimens.
    """
    shares = np.empty((trials, len(truth)))
    for first in range(0, trials, 4096):
        many = min(4096, trials - first)
        seen = tolerances(seed, first, many, participants)
        rates = np.stack([(seen <= p).mean(axis=1) for p in truth], axis=1)
        shares[first : first + many] = _closest(rates, judgement.target)
    mtd = judgement.true_mtd(truth)
    correct = shares[:, mtd].sum(axis=1)
    root = np.sqrt(trials)
    return Benchmark(
        participants,
        shares.mean(axis=0),
        shares.std(axis=0, ddof=1) / root if trials > 1 else np.full(len(truth), np.nan),
        Estimate(float(correct.mean()), float(correct.std(ddof=1) / root) if trials > 1 else float("nan")),
    )


def _closest(rates: Floats, target: float) -> Floats:
    distance = np.abs(rates - target)
    tied = distance <= distance.min(axis=1, keepdims=True) + 1e-9
    shares: Floats = tied / tied.sum(axis=1, keepdims=True)
    return shares


def exact_benchmark(truth: Floats, judgement: Judgement, participants: int) -> Benchmark:
    """The optimal benchmark of a one-axis study with ordered truths, without Monte Carlo error.

    The N tolerances fall into the bands between successive DLT probabilities, so the numbers of
    DLTs under the regimens are cumulative multinomial counts; they are summed over one regimen at a time.
    """
    order = np.argsort(truth, kind="stable")
    bands = np.diff(np.concatenate([[0.0], truth[order]]))
    counts, ways = np.zeros((1, 0), int), np.zeros(1)
    log_bands = np.log(np.maximum(bands, 1e-300))
    used = np.zeros(1, int)
    for band in range(len(truth)):
        more = np.arange(participants + 1)
        total = used[:, None] + more
        row, add = np.nonzero(total <= participants)
        ways = ways[row] + add * log_bands[band] - gammaln(add + 1)
        used = total[row, add]
        counts = np.concatenate([counts[row], used[:, None]], axis=1)
    rest = max(1.0 - float(truth.max()), 1e-300)
    weight = np.exp(
        ways + (participants - used) * np.log(rest) - gammaln(participants - used + 1) + gammaln(participants + 1)
    )
    shares = np.zeros((len(weight), len(truth)))
    shares[:, order] = _closest(counts / participants, judgement.target)
    selection = weight @ shares
    return Benchmark(participants, selection, None, Estimate(float(selection[judgement.true_mtd(truth)].sum()), None))
