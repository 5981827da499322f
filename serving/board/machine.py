"""All that a machine's page shows."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from masd.drift.history import DriftCheck
from masd.errors import MasdError
from serving.board.overview import Tile, make_tile
from serving.board.sources import Sources
from serving.board.timeline.alarms import Episode, episodes, silences, try_newest
from serving.board.timeline.view import Timeline, View, try_timeline
from serving.board.versions import Versions, versions_of

MOST_EPISODES, MOST_CHECKS, MOST_RECORDS = 20, 60, 40


@dataclass(frozen=True)
class MachinePage:
    """``timeline`` is None where the log cannot be used; ``checks`` are the newest first. ``kept`` are the files that
    are kept of clips, by request id.
    """

    tile: Tile
    view: View
    timeline: Timeline | None
    episodes: list[Episode]
    checks: list[DriftCheck]
    versions: Versions
    kept: dict[str, list[str]]
    problems: list[str]


def known(sources: Sources, machine: str) -> bool:
    """Whether there is such a machine: in the registry, or among those that alarms are kept of.

    :raises MasdError: neither can be used.
    """
    return machine in sources.machines() or machine in sources.alarms.listed()


def machine_page(sources: Sources, machine: str, view: View, now: datetime) -> MachinePage:
    """Look at one machine; what cannot be read is said, and the rest is there."""
    problems: list[str] = []

    def listed(kept: Any) -> Any:
        try:
            return kept.listed().get(machine)
        except MasdError as error:
            problems.append(str(error))
            return None

    tile = make_tile(sources, machine, listed(sources.alarms), drift := listed(sources.drift), now)
    events, unread = try_newest(sources.events, machine)
    alarms = episodes(events)
    checks: list[DriftCheck] = []
    if drift is not None:
        try:
            checks = sources.drift.get(machine, drift)
        except MasdError:  # said on the tile
            checks = []
    drawn = try_timeline(sources.scores, machine, view, alarms, silences(events))
    if isinstance(drawn, str):
        problems.append(drawn)
    else:
        problems += drawn.scores.problems
    found = None if isinstance(drawn, str) else drawn
    versions = versions_of(sources.registry, machine)
    asked = [name for one in alarms[:MOST_EPISODES] for name in one.worst]
    asked += [] if found is None else [row["request_id"] for row in found.highest]
    said = dict.fromkeys([*tile.problems, *problems, *unread, *versions.problems])  # each once, in this order
    return MachinePage(
        tile,
        view,
        found,
        alarms[:MOST_EPISODES],
        checks[::-1][:MOST_CHECKS],
        versions,
        sources.kept_files(machine, asked),
        list(said),
    )
