"""Speed of live conduct on a local disk, synchronous FULL: ``python -m benchmarks.conduct``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.run import best, row
from escalation.conduct import records as r
from escalation.conduct.demo import TRIAL
from escalation.conduct.installation import open_conduct
from escalation.conduct.invented import PASSWORD, HandClock
from escalation.conduct.roles import Role
from escalation.conduct.service import Conduct
from escalation.conduct.verify import verify_trial
from escalation.study import load

PARTICIPANTS, ENTRIES = 100, 5_000


def opened_trial(conduct: Conduct, clock: HandClock) -> str:
    """A trial with one investigator; the token of the investigator's session."""
    conduct.initialise("admin", "Ada Administrator", PASSWORD)
    admin = conduct.accounts.sign_in("admin", PASSWORD).token
    conduct.create_user(admin, "ingrid", "Ingrid Investigator", f"temporary {PASSWORD}")
    conduct.accounts.change_password("ingrid", f"temporary {PASSWORD}", PASSWORD)
    conduct.delegate(admin, TRIAL, "ingrid", Role.INVESTIGATOR, clock.moment.date())
    token = conduct.accounts.sign_in("ingrid", PASSWORD).token
    conduct.open_trial(token, TRIAL, load("nct04014166"), PASSWORD)
    return token


def main() -> None:
    """Fill a trial with candidates and laboratory values, and open it again."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "conduct.sqlite")
        clock = HandClock()
        conduct = open_conduct(path, create=True, clock=clock)
        token = opened_trial(conduct, clock)
        codes = [f"X{number:03d}" for number in range(PARTICIPANTS)]
        for code in codes:
            conduct.record(token, TRIAL, r.Screened(participant=code))
            conduct.record(token, TRIAL, r.Consented(participant=code, form_version="1.0", consented_at=clock.moment))
        taken = []
        for number in range(ENTRIES - conduct.ledger.head(TRIAL).seq):
            value = r.Laboratory(
                participant=codes[number % len(codes)],
                analyte="haemoglobin",
                value=9.0 + number % 50 / 10,
                unit="g/dL",
                sampled_at=clock.moment,
            )
            began = time.perf_counter()
            conduct.record(token, TRIAL, value)
            taken.append(time.perf_counter() - began)
        conduct.ledger.close()

        def opened() -> None:
            again = open_conduct(path, clock=clock)
            assert len(again.state(token, TRIAL).people) == PARTICIPANTS
            again.ledger.close()

        middle, late = np.quantile(np.array(taken[-1000:]) * 1e3, (0.5, 0.95))
        row("append with all checks, of the last 1,000", f"{middle:.1f} ms", f"95% under {late:.1f} ms")
        row(f"open {PARTICIPANTS} participants, {ENTRIES:,} entries", f"{best(opened, 3) * 1e3:.0f} ms")
        again = open_conduct(path, clock=clock)
        entries = again.ledger.entries(TRIAL)
        row("verify it: hashes, fold, decisions", f"{best(lambda: verify_trial(TRIAL, entries), 1) * 1e3:.0f} ms")
        again.ledger.close()


if __name__ == "__main__":
    main()
