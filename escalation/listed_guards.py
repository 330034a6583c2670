"""The guards a study file can list under ``protocol.guards``; the maximum size always comes last."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from escalation.grid_guards import ExcludeToxic, PredecessorCleared
from escalation.guards import (
    Coherence,
    MinimumBeforeSelection,
    NoSkipping,
    PermittedIncrements,
    StopAtN,
    TooToxicAtLowest,
)

ListedGuard = Annotated[
    TooToxicAtLowest
    | StopAtN
    | NoSkipping
    | PredecessorCleared
    | ExcludeToxic
    | PermittedIncrements
    | Coherence
    | MinimumBeforeSelection,
    Field(discriminator="guard"),
]
"""Any one of them, told apart by its name under ``guard``."""
