"""A clock that a test moves by hand, shared with the server under test through a file.

Twenty-eight days cannot be waited for. Run as a module it starts the front end on such a clock, with passwords
hashed at the least cost: ``python -m tests.e2e.hand_clock CLOCK_FILE app --port 8600 --no-browser``.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path


class SharedClock:
    """A moment set by hand from which time goes on as it does."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self) -> datetime:
        base, set_at = self.file.read_text().split()
        return datetime.fromisoformat(base) + timedelta(seconds=time.time() - float(set_at))

    @property
    def moment(self) -> datetime:
        return self()

    @moment.setter
    def moment(self, moment: datetime) -> None:
        part = self.file.with_suffix(".part")
        part.write_text(f"{moment.astimezone(UTC).isoformat()} {time.time()}")
        part.replace(self.file)

    def to(self, moment: datetime) -> None:
        """Move forward to a moment."""
        if moment > self():
            self.moment = moment


def main() -> None:
    from escalation.cli import app
    from escalation.ui import signed_in
    from tests.conduct.kit import fast

    signed_in.clock = SharedClock(Path(sys.argv[1]))
    signed_in.passwords = fast()
    sys.argv = ["escalation", *sys.argv[2:]]
    app()


if __name__ == "__main__":
    main()
