"""A trial walked by hand through the command line: what people type, when, and what they must read."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from typer.testing import CliRunner

from escalation.cli import app
from escalation.conduct.invented import HandClock

SECRET = "a quiet river in the evening"
SITE = ZoneInfo("Asia/Shanghai")


@dataclass
class Walk:
    """Runs a transcript line by line.

    ``@ 2026-03-02 09:00`` moves the clock to a time at the site; ``ada: COMMAND`` is typed by somebody, who signs in
    first when the last session is over; ``?ada: COMMAND`` is refused with exit code 2; ``> TEXT`` must stand in what
    was printed last, where spaces and line ends do not matter. ``NEXT`` in a command is the command that was printed
    last after "next:". A command that asks for passwords reads them from the lines ``< PASSWORD`` below it, or else
    the signer's own.
    """

    folder: Path
    clock: HandClock
    commands: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    printed: str = ""
    following: str = ""
    _signed_in: tuple[str, datetime] = field(init=False)

    def __post_init__(self) -> None:
        self._signed_in = "", self.clock.moment

    def run(self, transcript: str) -> None:
        lines = [line for line in transcript.splitlines() if line.strip() and not line.startswith("#")]
        for place, line in enumerate(lines):
            kind, _, rest = line.partition(" ")
            if kind == "@":
                self.clock.to(datetime.fromisoformat(rest.strip()).replace(tzinfo=SITE))
            elif kind == ">":
                assert squeezed(rest) in squeezed(self.printed), f"{rest!r} is not in\n{self.printed}"
            elif kind != "<":
                typed = []
                for later in lines[place + 1 :]:
                    if not later.startswith("< "):
                        break
                    typed.append(later[2:])
                self._command(kind.strip("?:"), rest, typed, 2 if kind.startswith("?") else 0)

    def _command(self, name: str, command: str, typed: list[str], code: int) -> None:
        user, since = self._signed_in
        command = command.replace("NEXT", self.following)
        setting_out = command.split()[2] in ("init", "sign-in")
        if not setting_out and (user != name or self.clock.moment - since > timedelta(minutes=20)):
            self._call(f"escalation trial sign-in {name} --password-stdin", [SECRET], 0)
        self.commands.append(command)
        asks = typed or [SECRET] * ("--password-stdin" in command)
        self._call(command, asks, code)
        self._signed_in = name, self.clock.moment

    def _call(self, command: str, typed: list[str], code: int) -> None:
        environment = {"ESCALATION_SESSION": str(self.folder / "sessions.json"), "ESCALATION_PASSWORD": None}
        environment["ESCALATION_DATABASE"] = str(self.folder / "trial.sqlite")
        words = shlex.split(command)[1:]
        result = CliRunner().invoke(app, words, input="".join(f"{each}\n" for each in typed), env=environment)
        self.printed = result.output
        self.outputs.append(result.output)
        assert result.exit_code == code, f"$ {command}\n{result.output}\n{result.exception!r}"
        assert "Traceback" not in result.output
        found = re.findall(r"next: (escalation trial .*)$", self.printed, re.MULTILINE)
        self.following = found[-1] if found else self.following


def squeezed(text: str) -> str:
    """Text with every run of spaces and line ends as one space."""
    return " ".join(text.split())
