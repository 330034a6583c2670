"""The ready lessons, in the order they are taught."""

from __future__ import annotations

from typing import Final

from escalation.teach.lesson import Lesson
from escalation.teach.lessons import by_hand, frequency, grid, how_sure, pending, picks_low

LESSONS: Final[dict[str, Lesson]] = {
    each.LESSON.key: each.LESSON for each in (by_hand, picks_low, pending, frequency, grid, how_sure)
}
