"""What a safety proof covers and what it leaves out, in words: one list for command line, JSON and page."""

from __future__ import annotations

from collections.abc import Iterator

from escalation.backfill_proof import WHAT
from escalation.study import Study
from escalation.verify import Proof


def proof_notes(study: Study, proof: Proof) -> Iterator[str]:
    """The sentences that belong beside the verdicts of a study's proof."""
    protocol = study.protocol
    if protocol.rule.design.needs_clock and protocol.escalate_when == "certain":
        yield "Only states in which every window is complete; this design also decides with windows open."
    if protocol.backfill is not None:
        yield f"Escalation alone, and each of its states with {WHAT}."
    if protocol.grid.size == 1:
        yield "With one regimen the properties about moving between regimens say nothing and are left out."
    if proof.draws:
        yield (
            "This design draws: every regimen it can draw was checked. That a further DLT never leads to a higher "
            "regimen is left out, because a draw leads to no single one."
        )
    if not proof.holds:
        yield "A broken property is a fact about the design as published, not an error of this check."
