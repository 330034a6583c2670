"""The draw of a design that randomises: made by the service, recorded with its recommendation, and repeatable.

A recommendation freezes the probabilities and holds the regimen they drew. The number it was drawn with is
the one of the trial's seed and of the decision, counted by the cohorts opened so far: asking again, on the
same or on later data, gives the same number, so that nobody can draw until the regimen suits them. A
suspension opens no cohort, and the number waits for the decision that does. The numbers are those of the
simulation (``escalation.streams``), which a simulated trial conducted with its own seed therefore repeats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from escalation.advice import Advice
from escalation.conduct import canonical
from escalation.conduct import records as r
from escalation.conduct.state import ConductState
from escalation.decision import Action
from escalation.regimens import Regimen, RegimenGrid
from escalation.report.wording import drawable
from escalation.streams import Numbers

SEED_DIGITS: Final = 12
"""Hexadecimal digits of the opening signature's hash that make a trial's seed."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What a recommendation was drawn with.

    Attributes
    ----------
    seed, replicate
        The stream of the trial; the replicate is 1 unless a simulated trial is conducted.
    decision
        Which decision it is, counted from 1.
    value
        The uniform number of that stream and decision.
    """

    seed: int
    replicate: int
    decision: int
    value: float

    def regimen(self, shares: tuple[float, ...]) -> int:
        """The regimen these probabilities draw, counted from 0."""
        return Numbers(self.seed, self.replicate - 1).regimen(shares, self.decision - 1)

    def as_dict(self) -> dict[str, Any]:
        """The draw as a recommendation records it."""
        return asdict(self)

    @property
    def words(self) -> str:
        """Where the number comes from, in words."""
        return draw_words(self.as_dict())


def stream_of(state: ConductState) -> r.DrawStream:
    """The stream a trial draws from: as given at its opening, else from the hash of the signature under it.

    Nobody can choose the seed of a signature, which holds its moment to the microsecond, and a trial is
    opened once; ledgers older than draws have one too.
    """
    opened = state.opened
    assert opened is not None
    if opened.draws is not None:
        return opened.draws
    return r.DrawStream(seed=int(canonical.digest(opened.signature)[:SEED_DIGITS], 16))


def drawn_advice(state: ConductState, advice: Advice) -> tuple[Advice, Draw | None]:
    """The advice with its regimen drawn, and the draw; the same advice and None where nothing is to be drawn."""
    shares = advice.allocation
    if shares is None or not advice.decides or advice.action == Action.STOP or not drawable(shares):
        return advice, None
    stream, trial = stream_of(state), state.trial_state()
    value = Numbers(stream.seed, stream.replicate - 1).at("allocation", trial.cohort - 1)
    draw = Draw(stream.seed, stream.replicate, trial.cohort, value)
    return advice.drawing(draw.regimen(shares), trial.regimen, trial.rule.grid), draw


# what a recommendation holds -----------------------------------------------------------------------


def allocation_form(shares: tuple[float, ...], grid: RegimenGrid) -> list[dict[str, Any]]:
    """The regimens that can be drawn, with their probabilities, as a recommendation records them."""
    possible = [(k, share) for k, share in enumerate(shares) if share > 0]
    return [{**grid.regimen(k)._asdict(), "probability": share} for k, share in possible]


def frozen_shares(advice: Mapping[str, Any], grid: RegimenGrid) -> tuple[float, ...] | None:
    """The probabilities a recommendation froze, over all regimens; None where it has none."""
    if "allocation" not in advice:
        return None
    shares = [0.0] * grid.size
    for each in advice["allocation"]:
        shares[grid.index(Regimen(each["dose"], each["frequency"]))] = each["probability"]
    return tuple(shares)


def may_be_treated(advice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The regimens a recommendation allows: every one with a positive probability, or the one it names."""
    levels = [{"dose": each["dose"], "frequency": each["frequency"]} for each in advice.get("allocation", ())]
    named = advice.get("next")
    return levels or ([] if named is None else [dict(named)])


def draw_words(draw: Mapping[str, Any]) -> str:
    """A recorded draw in words."""
    simulated = f", trial {draw['replicate']}" if draw["replicate"] != 1 else ""
    return f"seed {draw['seed']}{simulated}, decision {draw['decision']}: {draw['value']:.6f}"
