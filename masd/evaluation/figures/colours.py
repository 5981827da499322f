"""Every colour of the figures, by its meaning."""

CARD = "#f3f3f0"
INK = "#22262b"
EDGE = "#7c828a"
FAINT = "#9aa0a6"

SERVED_COLOUR = "#1b4f9c"
"""The system that is served, the default, the newer model."""

REFERENCE_COLOUR = "#8a5a2b"
"""The other side of a comparison: a control, a margin."""

HIGHLIGHT = "#d9a441"
"""A span that counts: an interval, the low false-positive rates."""

GOOD, BAD, WORSE_COLOUR = "#1d7a4c", "#b3261e", "#d1495b"

CONDITION_COLOURS = {"normal": "#3b6fa8", "anomaly": "#d1495b", "unknown": "#6d7278"}
DOMAIN_COLOURS = {"source": "#17796b", "target": "#c26a10", "none": "#17796b"}
CLASS_COLOURS = (
    "#1b6fb3", "#d9601a", "#2a8c4a", "#b3261e", "#7a4fb5", "#8a5a2b", "#cf4f9d", "#5f7d12", "#0d9aa8", "#c99700"
)  # fmt: skip
TEST_COLOUR, OTHER_COLOUR = "#b4b8bd", "#50565d"
"""On the map of the attributes: test clips, and classes that have no colour of their own."""

SYSTEM_COLOURS = ("#1b4f9c", "#c07a1d", "#17594b", "#a0447a")
CONTROL_COLOURS = ("#8a5a2b", "#5d6670", "#a0447a")
LOSS_COLOURS = ("#6fa89b", "#3b8474", "#17594b")

MARK_COLOUR, WINDOW_COLOUR = "#ff7a1a", "#4fd8eb"
"""On a spectrogram: what is unusual, and the window that scores highest."""

LOG_REFERENCE_COLOUR, LOG_WINDOW_COLOUR = "#8b929b", "#1b4f9c"
"""In a drift check: the training clips and the logged ones."""
