"""Templates, and how times and numbers are written on the board."""

import math
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse

from masd.evaluation.pages.html import DASH, breakable, number

FOLDER = Path(__file__).parent / "templates"
STATES = {
    "alarm": "alarm",
    "known": "alarm, acknowledged",
    "silent": "no clips",
    "watch": "watch",
    "unread": "unknown",
    "unheard": "not watched",
    "normal": "normal",
}
"""What a state is called on the page."""

MEANINGS = {
    "alarm": "The scores of several clips are evidence of a fault.",
    "known": "A person has acknowledged the alarm.",
    "silent": "There has been no clip for longer than usual.",
    "watch": "The scores are unusual, but not enough for an alarm.",
    "unread": "The state cannot be read, or is old.",
    "unheard": "masd alarms has not checked this machine yet.",
    "normal": "The scores are as usual.",
}
"""What a state means, shown when the pointer is on it."""


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "ago": ago,
        "breakable": breakable,
        "moment": moment,
        "number": number,
        "rarity": rarity,
        "share": share,
        "whole": lambda value: f"{value:,.0f}",
    }
    environment.globals |= {"states": STATES, "meanings": MEANINGS}
    return environment


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Fill a template; everything put in is escaped, a missing value is an error."""
    return HTMLResponse(_environment().get_template(template).render(**values), status)


def style_sheet() -> str:
    return (FOLDER / "board.css").read_text(encoding="utf-8")


def moment(time: str | datetime) -> str:
    """``2026-01-05T10:00:00.000+00:00`` -> ``5 Jan 10:00``, in UTC, with the year where it is not this one."""
    try:
        parsed = datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError:
        return str(time) or DASH
    own = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    year = "" if own.year == datetime.now(UTC).year else f" {own.year}"
    return f"{own.day} {own:%b}{year} {own:%H:%M}"


def ago(time: str, now: datetime) -> str:
    """How long before ``now`` an ISO 8601 time was, in its largest unit."""
    try:
        seconds = (now - datetime.fromisoformat(time)).total_seconds()
    except (ValueError, TypeError):
        return DASH
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def rarity(evidence: float) -> str:
    """Evidence as people say it: once in so many normal clips."""
    return f"1 in {max(evidence, 1):,.0f}"


def share(evidence: float, asked: float) -> float:
    """How much of the evidence for an alarm there is, 0 to 1, each tenfold as far as the one before."""
    if not evidence > 1 or not asked > 1:
        return 0.0
    return min(math.log(evidence) / math.log(asked), 1.0)
