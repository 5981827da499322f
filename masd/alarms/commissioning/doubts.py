"""Reasons why a window of an inference log may not be normal."""

from typing import Literal

Doubt = Literal["silence", "drift", "alarms"]
DOUBTS: tuple[Doubt, ...] = ("silence", "drift", "alarms")
"""Silent clips, halves that differ, faults."""
