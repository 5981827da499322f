"""The overview reads little, and looks again when something has changed."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from board_plant import Plant

from masd.storage.folder import FolderStore
from serving.board.overview import Overviews, make_overview
from serving.board.pages import ago, moment, page, share
from serving.board.sources import Sources

SERVER_SECONDS = 1.0


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    plant = Plant(tmp_path / "root")
    plant.machine("fan")
    plant.hear("fan")
    plant.step()
    return plant


def _sources(plant: Plant) -> Sources:
    return Sources(str(plant.registry), str(plant.log))


def test_two_hundred_machines_take_less_than_a_second(plant: Plant) -> None:
    """Processor time of a board that has just started, from nothing to the page."""
    plant.check_drift("fan", ["no drift"] * 100)
    plant.copies("fan", [f"machine-{number:03d}" for number in range(199)])
    page("message.html", session=None, can_sign_in=False, refresh=None, title="", text="", back="/")
    spent = []
    for _ in range(3):  # the least of them: others use this machine too
        sources = _sources(plant)
        begun = time.process_time()
        overview = make_overview(sources, plant.now)
        page("overview.html", overview=overview, refresh=30, session=None, form="", can_sign_in=False)
        spent.append(time.process_time() - begun)
        assert overview.counts == {"normal": 200} and overview.tiles[0].drift is not None
    begun = time.process_time()
    make_overview(sources, plant.now)
    again = time.process_time() - begun
    print(f"first: {min(spent):.2f} s, again: {again:.2f} s")
    assert min(spent) < SERVER_SECONDS and again < SERVER_SECONDS / 2


def test_only_what_has_changed_is_read_again(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = _sources(plant)
    first = make_overview(sources, plant.now).tiles[0]
    read: list[str] = []
    before = FolderStore.read
    monkeypatch.setattr(FolderStore, "read", lambda self, key: (read.append(key), before(self, key))[1])
    assert make_overview(sources, plant.now).tiles[0] == first
    assert not [key for key in read if key.startswith("machines/") or key.endswith(".parquet")]
    state = plant.state / "machines" / "fan.json"
    state.write_text(state.read_text().replace('"state": "normal"', '"state":  "alarm"'))
    assert make_overview(sources, plant.now).tiles[0].state == "alarm"


def test_the_overview_is_made_once_for_all_who_ask_at_a_time(plant: Plant) -> None:
    overviews = Overviews(_sources(plant))
    first = overviews.now()
    assert overviews.now() is first
    overviews.forget()
    assert overviews.now() is not first


def test_an_alarm_step_that_does_not_run_is_no_normal(plant: Plant) -> None:
    later = datetime.now(UTC) + timedelta(minutes=16)
    (tile,) = make_overview(_sources(plant), later).tiles
    assert tile.state == "unread" and "has not run since" in tile.problems[0]


def test_a_silence_is_seen_before_the_alarm_step_tells_of_it(plant: Plant) -> None:
    assert make_overview(_sources(plant), plant.now).counts == {"normal": 1}
    (tile,) = make_overview(_sources(plant), plant.now + timedelta(minutes=13)).tiles  # heard 16 minutes ago
    assert tile.state == "silent"


def test_whatever_is_broken_of_one_machine_the_others_are_shown(plant: Plant) -> None:
    broken = {
        "torn": "{",
        "list": "[]",
        "nested": '{"schema_version": 1, "monitor": {"calibration": {"scores": []}}, "outbox": []}',
        "newer": '{"schema_version": 99}',
    }
    for name, content in broken.items():
        (plant.state / "machines" / f"{name}.json").write_text(content)
    (plant.drift / "machines").mkdir(parents=True)
    (plant.drift / "machines" / "fan.json").write_text('[{"time": 1}]')
    (plant.registry / "models" / "fan" / "channels" / "candidate.json").write_text("?")
    tiles = {tile.machine: tile for tile in make_overview(_sources(plant), plant.now).tiles}
    assert set(tiles) == {"fan", *broken}
    assert all(tiles[name].state == "unread" and tiles[name].problems for name in broken)
    assert tiles["fan"].state == "normal"
    assert len(tiles["fan"].problems) == 2  # pointer and history


def test_a_registry_that_is_away_leaves_the_alarms(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: object) -> list[str]:
        from masd.storage.protocol import StoreError

        raise StoreError("the bucket is away")

    monkeypatch.setattr("masd.registry.registry.Registry.machines", away)
    overview = make_overview(_sources(plant), plant.now)
    assert overview.problems == ["the bucket is away"] and overview.tiles[0].state == "normal"


def test_how_times_and_evidence_are_written() -> None:
    now = datetime(2026, 1, 5, 12, tzinfo=UTC)
    texts = [
        "2026-01-05T11:59:18+00:00",
        "2026-01-05T11:20:00+00:00",
        "2026-01-04T06:00:00+00:00",
        "2025-12-01T12:00:00+00:00",
    ]
    assert [ago(text, now) for text in texts] == ["42 s ago", "40 min ago", "1 d ago", "35 d ago"]
    assert ago("", now) == ago("soon", now) == "\N{EN DASH}"
    assert moment("2019-03-07T09:05:00+01:00") == "7 Mar 2019 08:05"
    assert share(1.0, 10_000.0) == 0.0 and share(100.0, 10_000.0) == pytest.approx(0.5)
    assert share(1e9, 10_000.0) == 1.0 and share(float("nan"), 1000.0) == 0.0
