"""The page of ``masd data check``."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from masd.audio.sound_properties import FLOOR_DBFS
from masd.data.check.content import MeasuredClip
from masd.data.check.machine import MachineCheck
from masd.evaluation.figures.colours import SERVED_COLOUR
from masd.evaluation.figures.style import STYLE, WIDTH, svg
from masd.evaluation.pages.html import render, svg_uri
from masd.files import write_text

COLOURS = {
    "train, source": SERVED_COLOUR,
    "train, target": "#c96a12",
    "test": "#8b929b",
    "supplemental": "#1d7a4c",
}


def write_data_page(checks: Sequence[MachineCheck], out: Path) -> None:
    """One section per machine, those that cannot be trained first."""
    order = sorted(checks, key=lambda check: (check.trainable, check.machine_type.casefold()))
    levels = {check.machine_type: svg_uri(level_figure(check.clips)) for check in order if check.clips}
    text = render("data.html", checks=order, about={c.machine_type: c.to_dict() for c in order}, levels=levels)
    write_text(out, text)


def level_figure(clips: Sequence[MeasuredClip]) -> str:
    """The level of every clip in the order of the clip table: what is silent, loud or changes with time stands out."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2 * WIDTH, 2.1), layout="constrained")
        axes = figure.subplots()
        for label, colour in COLOURS.items():
            part = [(n, one.sound.level_dbfs) for n, one in enumerate(clips, start=1) if _label(one) == label]
            if part:
                axes.plot(*zip(*part, strict=True), ".", color=colour, markersize=4, label=f"{label} ({len(part)})")
        low = min(one.sound.level_dbfs for one in clips)
        if low <= FLOOR_DBFS:
            axes.axhline(FLOOR_DBFS, color="#b3261e", linewidth=0.8, linestyle=":")
        axes.set_xlabel("clip, in the order of names")
        axes.set_ylabel("level in dBFS")
        axes.legend(loc="best", ncols=2)
        return svg(figure)


def _label(one: MeasuredClip) -> str:
    if one.clip.split == "train":
        return "train, target" if one.clip.domain == "target" else "train, source"
    return one.clip.split
