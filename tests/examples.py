"""How many examples of Hypothesis a test draws."""

from __future__ import annotations

import os

_TIMES = int(os.environ.get("ULTRASAM_FUZZ", "1"))


def examples(count: int) -> int:
    """``count``, times what ULTRASAM_FUZZ says: for a longer hunt, as after a change of a reader."""
    return count * _TIMES
