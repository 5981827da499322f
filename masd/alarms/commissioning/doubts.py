"""What speaks against taking a window of an inference log as normal."""

from typing import Literal

Doubt = Literal["silence", "drift", "alarms"]
DOUBTS: tuple[Doubt, ...] = ("silence", "drift", "alarms")
"""Silent clips, halves that differ, faults."""
