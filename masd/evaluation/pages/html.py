"""What the HTML pages share: the template environment, number formats, figures as data URIs."""

import base64
import math
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

DASH = "\N{EN DASH}"
"""Stands where there is no value."""

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, /, templates: Path = _TEMPLATES, **values: Any) -> str:
    """Fill a template; everything put in is escaped, a missing value is an error.

    :param templates: the folder of the template; ``base.html`` is found from everywhere.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([templates, _TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = points
    environment.filters["number"] = number
    environment.filters["breakable"] = breakable
    return environment.get_template(template).render(**values)


def points(fraction: float | None) -> str:
    """A fraction as percentage points with one decimal; a dash where there is no value."""
    return DASH if fraction is None or math.isnan(fraction) else f"{100 * fraction:.1f}"


def number(value: float | None) -> str:
    """A score or threshold with four significant digits; a dash where there is no value."""
    return DASH if value is None or math.isnan(value) else f"{value:.4g}"


def breakable(name: str) -> Markup:
    """A clip's name, escaped, that may wrap after each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def svg_uri(svg: str) -> str:
    """An SVG document as the address of an image: it cannot clash with, or script, the page around it."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def wav_uri(wav: bytes) -> str:
    """A WAV file as the address of an audio player."""
    return "data:audio/wav;base64," + base64.b64encode(wav).decode("ascii")
