"""The style of all figures of the report.

Figures have one width, small enough that a phone shows them without shrinking the text, and an opaque neutral
background, so that they read on a light and on a dark page.
"""

import io
from typing import Any

from matplotlib.figure import Figure

from masd.evaluation.figures.colours import CARD, EDGE, INK

WIDTH = 4.4
"""Width of every figure in inches."""

STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "legend.fontsize": 7.5,
    "axes.edgecolor": EDGE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "figure.facecolor": CARD,
    "axes.facecolor": CARD,
    "legend.frameon": False,
    "svg.hashsalt": "masd",  # the same page for the same data
}


def svg(figure: Figure) -> str:
    """Render a figure drawn under :data:`STYLE` to a reproducible SVG document."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
