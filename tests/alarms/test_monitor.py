"""The alarm state of one machine."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from masd.alarms.calibration import Calibration
from masd.alarms.commissioning.blocks import block_length
from masd.alarms.commissioning.tolerance import clips_needed, guaranteed_rate, tolerance_threshold
from masd.alarms.events import Event
from masd.alarms.monitor import REMEMBERED, WAITING, Monitor, Rule, ScoredClip
from masd.errors import MasdError

START = datetime(2026, 1, 5, tzinfo=UTC)


def clips(scores: np.ndarray, start: int = 0) -> list[ScoredClip]:
    times = [
        (START + timedelta(seconds=10 * (start + i))).isoformat(timespec="milliseconds") for i in range(len(scores))
    ]
    return [
        ScoredClip(time, float(score), "source", f"r{start + i}")
        for i, (time, score) in enumerate(zip(times, scores, strict=True))
    ]


def monitor(size: int = 500, asked: float = 1000.0, *, block: int = 1, most: int = 0, seed: int = 0) -> Monitor:
    scores = np.random.default_rng(seed).normal(size=size)
    return Monitor("fan", "3", Rule(asked, block), Calibration({"source": scores}, most))


def heard(fan: Monitor, some: list[ScoredClip]) -> list[Event]:
    return [event for clip in some for event in fan.take(clip)]


def normal_then_fault(rng: np.random.Generator, shift: float = 4.0) -> np.ndarray:
    return np.concatenate([rng.normal(size=200), rng.normal(shift, size=30), rng.normal(size=200)])


def test_a_fault_is_an_alarm_and_is_over_by_itself_after_the_repair() -> None:
    fan = monitor()
    scores = normal_then_fault(np.random.default_rng(1))
    events = heard(fan, clips(scores))
    alarms = [event for event in events if event.kind == "alarm"]
    assert len(alarms) == 1
    alarm = alarms[0]
    raised, since = (int((datetime.fromisoformat(t) - START).total_seconds() / 10) for t in (alarm.time, alarm.since))
    assert 200 <= raised <= 205
    assert 197 <= since <= 201
    assert set(alarm.worst) <= {f"r{i}" for i in range(since, raised + 1)}
    assert alarm.evidence >= 0.7 * 1000
    last = next(event for event in events if event.reason == "alarm-over")
    assert (last.kind, fan.state) == ("normal", "normal")
    over = int((datetime.fromisoformat(last.time) - START).total_seconds() / 10)
    assert 230 < over < 290


def test_an_alarm_is_told_once_however_long_it_lasts() -> None:
    fan = monitor()
    events = heard(fan, clips(np.full(5000, 9.0)))
    assert [event.kind for event in events if event.kind != "watch"] == ["alarm"]
    assert len(json.dumps(fan.to_dict())) < 200_000
    assert len(fan.to_dict()["waiting"]) <= REMEMBERED


def test_acknowledged_keeps_the_alarm_and_a_false_one_is_learned_from() -> None:
    fan = monitor(most=1000)
    heard(fan, clips(np.full(20, 9.0)))
    told = fan.acknowledge("2026-01-05T01:00:00+00:00", "ann", "seen", normal=False)
    assert (told.kind, fan.state, fan.acknowledged, told.actor) == ("acknowledged", "alarm", True, "ann")
    before = fan.calibration.sizes()["source"]
    told = fan.acknowledge("2026-01-05T01:00:00+00:00", "ann", "new tool", normal=True)
    assert (told.kind, fan.state, fan.evidence) == ("normal", "normal", 0.0)
    assert fan.calibration.sizes()["source"] == before + 20
    with pytest.raises(MasdError, match="no alarm to acknowledge"):
        fan.acknowledge("", "ann", "again", normal=False)


def test_nothing_of_a_fault_is_learned() -> None:
    fan = monitor(most=10_000)
    heard(fan, clips(normal_then_fault(np.random.default_rng(2))))
    learned = max(fan.calibration.to_dict()["scores"]["source"])
    assert learned < 4.0
    heard(fan, clips(np.random.default_rng(3).normal(size=300), start=430))
    assert fan.calibration.sizes()["source"] >= 500 + 200 - WAITING


@pytest.mark.parametrize("block", [1, 4])
def test_stopped_and_started_anywhere_it_tells_the_same(block: int) -> None:
    scores = normal_then_fault(np.random.default_rng(4))
    straight = heard(monitor(most=900, block=block), clips(scores))
    assert [event.kind for event in straight].count("alarm") == 1
    fan, events = monitor(most=900, block=block), []
    for clip in clips(scores):
        fan = Monitor.from_dict(json.loads(json.dumps(fan.to_dict())))
        events += heard(fan, [clip])
    assert [event.id for event in events] == [event.id for event in straight]


def test_late_clips_neither_hide_an_alarm_nor_make_one() -> None:
    rng = np.random.default_rng(5)
    some = clips(normal_then_fault(rng))
    late = [*some[:50], *some[150:], *some[50:150]]
    assert [event.kind for event in heard(monitor(), late)].count("alarm") == 1
    assert not [event for event in heard(monitor(), [*some[100:200], *some[:100]]) if event.kind == "alarm"]


def test_domains_are_ranked_among_their_own() -> None:
    rng = np.random.default_rng(6)
    scores = {"source": rng.normal(size=500), "target": rng.normal(8.0, size=500)}
    fan = Monitor("fan", "3", Rule(1000), Calibration(scores, 0))
    target = [ScoredClip(clip.time, clip.score + 8.0, "target") for clip in clips(rng.normal(size=300))]
    assert not [event for event in heard(fan, target) if event.kind == "alarm"]
    source = [ScoredClip(clip.time, clip.score + 8.0, "source") for clip in clips(rng.normal(size=10), 300)]
    assert [event.kind for event in heard(fan, source)].count("alarm") == 1


def test_blocks_keep_the_rate_of_clips_that_are_alike() -> None:
    rng = np.random.default_rng(7)
    noise = rng.normal(size=8000)
    scores = (np.repeat(rng.normal(size=1000), 8) + 0.1 * noise) / np.sqrt(1.01)

    def alarms(block: int) -> int:
        events = heard(monitor(2000, 400.0, block=block), clips(scores))
        return sum(event.kind == "alarm" for event in events)

    assert alarms(1) > 2 * 20  # eight clips in a row say the same eight times
    assert alarms(8) <= 20
    assert 6 <= block_length(scores) <= 14
    assert block_length(noise[:1000]) == 1


def test_events_of_equal_content_have_one_id() -> None:
    one = Event("alarm", "fan", "3", "t", "s", 5, 1.5, 100.0, ("a", "b"))
    assert one.id == Event.from_dict(json.loads(json.dumps(one.to_dict()))).id
    assert one.id != Event("alarm", "fan", "4", "t", "s", 5, 1.5, 100.0, ("a", "b")).id


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(MasdError, match="at least 20"):
        Calibration({"source": [1.0] * 19}, 0)
    with pytest.raises(MasdError, match="finite"):
        Calibration({"source": [1.0] * 19 + [float("nan")]}, 0)
    with pytest.raises(MasdError, match="1/100"):
        Rule(50)
    with pytest.raises(MasdError, match="the score nan is not a finite number"):
        heard(monitor(), [ScoredClip("t", float("nan"))])
    with pytest.raises(MasdError, match="not the state"):
        Monitor.from_dict({"calibration": {"scores": {"a": [1.0] * 20}, "most": 0}})


def test_clips_needed_and_guaranteed_are_those_of_wilks() -> None:
    assert clips_needed(0.05) == 59  # the textbook's number for 95 % / 95 %
    assert clips_needed(1e-4) == 29_956
    assert guaranteed_rate(59) <= 0.05 < guaranteed_rate(58)
    assert guaranteed_rate(93, above=1) <= 0.05 < guaranteed_rate(92, above=1)
    assert guaranteed_rate(0) == 1.0


def test_a_tolerance_threshold_keeps_its_rate_for_95_of_100_samples() -> None:
    rng = np.random.default_rng(8)
    kept = [np.exp(-tolerance_threshold(rng.exponential(size=400), 0.02)) <= 0.02 for _ in range(400)]
    assert 0.92 <= np.mean(kept) <= 1.0
    scores = np.arange(10.0)
    assert tolerance_threshold(scores, 0.001) == 9.0
