"""The alarm step over an inference log: state, events and whom they reach."""

import hashlib
import hmac
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alarm_logs import at, events_of, records, registered, ship

from masd.alarms import delivery, step
from masd.alarms.recipients import Alertmanager, Webhook
from masd.alarms.state import load_state
from masd.alarms.step import AlarmStep
from masd.cli.demo import alarm_lines
from masd.cli.main import main
from masd.errors import MasdError
from masd.storage.opening import open_store


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PAUSES_S", (0.0, 0.0))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """With a registry, whose fan has version 1 in production, and an empty log."""
    registered(tmp_path / "registry")
    (tmp_path / "log").mkdir()
    return tmp_path


def steps(place: Path, **options: Any) -> AlarmStep:
    return AlarmStep(str(place / "registry"), str(place / "log"), **options)


def scores(*faults: int, clips: int = 400, seed: int = 1) -> np.ndarray:
    """Normal ones with a loud fault of thirty clips from each of ``faults`` on."""
    found = np.random.default_rng(seed).normal(size=clips)
    for start in faults:
        found[start : start + 30] += 6.0
    return found


NOW = datetime.fromisoformat(at(400))


class Receiver:
    """A real HTTP server that keeps what it is sent, and answers ``code``."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.code = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.code == 200:
                    receiver.got.append((self.path, dict(self.headers), body))
                self.send_response(receiver.code)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.server.shutdown()
    one.server.server_close()


def test_a_fault_in_the_log_is_told_to_everybody_once(place: Path, receiver: Receiver) -> None:
    ship(place / "log", records(scores(200)), "20260105T010000-aa")
    fan = steps(place, recipients=[Webhook(receiver.url, "secret")])
    outcome = fan.run(now=NOW)
    assert outcome.failed == {} and outcome.in_alarm == []
    assert fan.run(now=NOW).events == []
    logged = events_of(place / "log-alarms")
    assert set(logged["id"]) == {event.id for event in outcome.events}
    told = [(event["type"], event["data"]["reason"]) for event in receiver.events()]
    assert told == [("masd.alarms.alarm", ""), ("masd.alarms.normal", "alarm-over")]
    path, headers, body = receiver.got[0]
    alarm = json.loads(body)
    expected = hmac.new(b"secret", body, hashlib.sha256).hexdigest()
    assert path == "/hook" and headers["X-Masd-Signature"] == f"sha256={expected}"
    assert headers["Content-Type"].startswith("application/cloudevents+json")
    assert alarm["specversion"] == "1.0" and alarm["subject"] == "fan" and alarm["id"] in set(logged["id"])
    assert at(197) <= alarm["data"]["since"] <= at(200) <= alarm["time"] <= at(203)


def test_several_servers_late_objects_and_a_growing_file_are_read_once_each(place: Path) -> None:
    rows = records(scores(200))
    ship(place / "log", rows[:200:2], "20260105T010000-aa")
    ship(place / "log", rows[1:150:2], "20260105T010000-bb")
    fan = steps(place)
    fan.run(now=NOW)
    growing = place / "log" / "more.jsonl"
    lines = [json.dumps(row) + "\n" for row in rows[200:300].to_dict("records")]
    growing.write_text("".join(lines[:60]) + lines[60][:20])
    fan.run(now=NOW)
    growing.write_text("".join(lines) + "torn\n" + json.dumps({**rows.iloc[0].to_dict(), "machine_type": "x"}) + "\n")
    ship(place / "log", rows[151:200:2], "20260105T000000-cc")  # an hour late, and sorted before the others
    ship(place / "log", rows[300:], "20260105T020000-aa")
    fan.run(now=NOW)
    fan.run(now=NOW)
    state = load_state(open_store(str(place / "log-alarms")), "fan")
    assert state.monitor is not None and state.monitor.clips == 400
    assert state.passed_over == {"other_versions": 0, "unreadable": 1, "silent": 0}
    assert list(events_of(place / "log-alarms")["kind"]).count("alarm") == 1


def test_a_log_that_is_away_for_a_while_is_read_once(place: Path) -> None:
    rows = records(scores(200))
    ship(place / "log", rows[:250], "20260105T010000-aa")
    fan = steps(place)
    fan.run(now=NOW)
    (place / "log").rename(place / "away")
    assert fan.run(now=NOW).events == []
    (place / "away").rename(place / "log")
    ship(place / "log", rows[250:], "20260105T020000-aa")
    fan.run(now=NOW)
    state = load_state(open_store(str(place / "log-alarms")), "fan")
    assert state.monitor is not None and state.monitor.clips == 400
    with pytest.raises(MasdError, match="there is no inference log at"):
        AlarmStep(str(place / "registry"), str(place / "nowhere"))


def test_a_recipient_that_is_away_is_told_later_in_order(place: Path, receiver: Receiver) -> None:
    ship(place / "log", records(scores(200)), "20260105T010000-aa")
    fan = steps(place, recipients=[Webhook(receiver.url)])
    receiver.code = 503
    fan.run(now=NOW)
    fan.run(now=NOW)
    assert receiver.got == []
    receiver.code = 200
    fan.run(now=NOW)
    assert [event["type"].rpartition(".")[2] for event in receiver.events()] == ["alarm", "normal"]
    assert not (place / "log-alarms" / "dead").exists()


@pytest.mark.parametrize(("code", "needed"), [(400, 1), (503, 3)])
def test_what_cannot_be_delivered_is_put_aside(
    place: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, code: int, needed: int
) -> None:
    monkeypatch.setattr(delivery, "MOST_STEPS", 3)
    ship(place / "log", records(scores(370)), "20260105T010000-aa")
    fan = steps(place, recipients=[Webhook(receiver.url)])
    receiver.code = code
    dead = place / "log-alarms" / "dead" / "webhook"
    for number in range(1, needed + 1):
        assert not dead.exists()
        fan.run(now=NOW)
        assert dead.exists() == (number == needed)
    letter = json.loads(next(dead.glob("*.json")).read_text())
    assert letter["event"]["kind"] == "alarm" and str(code) in letter["problem"]
    assert load_state(open_store(str(place / "log-alarms")), "fan").outbox == []


def test_alertmanager_gets_alerts_that_are_repeated_while_on_and_resolved_after(
    place: Path, receiver: Receiver
) -> None:
    rows = records(scores(200))
    ship(place / "log", rows[:220], "20260105T010000-aa")
    fan = steps(place, recipients=[Alertmanager(receiver.url.removesuffix("/hook"))])
    soon = datetime.fromisoformat(at(230))
    assert fan.run(now=soon).in_alarm == ["fan"]
    fan.run(now=soon)
    ship(place / "log", rows[220:], "20260105T020000-aa")
    assert fan.run(now=NOW).in_alarm == []
    alerts = [json.loads(body)[0] for path, _, body in receiver.got if path == "/api/v2/alerts"]
    assert {json.dumps(alert["labels"]) for alert in alerts} == {'{"alertname": "MasdAlarm", "machine_type": "fan"}'}
    assert len(alerts) == 4  # raised, repeated by the same step and the next, resolved
    assert all(alert["endsAt"] > at(400) for alert in alerts[:-1]) and alerts[-1]["endsAt"] < at(400)


def test_a_machine_that_is_not_heard_is_told_and_its_return(place: Path) -> None:
    ship(place / "log", records(scores(clips=100)), "20260105T010000-aa")
    fan = steps(place)
    assert fan.run(now=datetime.fromisoformat(at(100)) + timedelta(minutes=14)).events == []
    silent = fan.run(now=datetime.fromisoformat(at(100)) + timedelta(minutes=16)).events
    assert [event.kind for event in silent] == ["silent"]
    assert silent[0].since == at(99)
    assert fan.run(now=datetime.fromisoformat(at(100)) + timedelta(minutes=30)).events == []
    ship(place / "log", records(scores(clips=10), start=1000), "20260105T030000-aa")
    assert [event.kind for event in fan.run(now=datetime.fromisoformat(at(1010))).events] == ["heard"]


def test_silent_clips_are_no_sound_of_the_machine(place: Path) -> None:
    rows = records(scores(200)).assign(warnings="")
    rows.loc[200:229, "warnings"] = "level silence"
    ship(place / "log", rows, "20260105T010000-aa")
    fan = steps(place)
    assert "alarm" not in [event.kind for event in fan.run(now=NOW).events]
    state = load_state(open_store(str(place / "log-alarms")), "fan")
    assert state.passed_over["silent"] == 30
    assert state.monitor is not None and state.monitor.clips == 370


def test_a_new_version_begins_anew_and_ends_the_alarm_of_the_old_one(place: Path) -> None:
    ship(place / "log", records(scores(370)), "20260105T010000-aa")
    fan = steps(place)
    assert fan.run(now=NOW).in_alarm == ["fan"]
    registered(place / "registry", seed=5)
    ship(place / "log", records(scores(clips=50), start=400, version="2"), "20260105T020000-aa")
    ship(place / "log", records([9.0] * 50, start=400, version="1"), "20260105T020000-bb")
    outcome = fan.run(now=NOW)
    assert [(event.kind, event.reason, event.model_version) for event in outcome.events] == [
        ("normal", "version-changed", "1")
    ]
    state = load_state(open_store(str(place / "log-alarms")), "fan")
    assert state.monitor is not None and (state.monitor.version, state.monitor.clips) == ("2", 50)
    assert state.passed_over["other_versions"] == 50


def test_one_damaged_machine_or_object_does_not_stop_the_others(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    registered(place / "registry", "pump", seed=7)
    ship(place / "log", records(scores(370)), "20260105T010000-aa")
    ship(place / "log", records(scores(370), machine="pump"), "20260105T010000-aa")
    broken = place / "log" / "fan" / "2026-01-05" / "fan-20260105T020000-zz.parquet"
    broken.write_bytes(b"no table")
    (place / "registry" / "models" / "pump" / "1" / "detectors.safetensors").write_bytes(b"damaged")
    outcome = steps(place).run(now=NOW)
    assert outcome.in_alarm == ["fan"] and list(outcome.failed) == ["pump"]
    assert "fan-20260105T020000-zz.parquet: unreadable" in caplog.text


def test_the_commands(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASD_ACTOR", "ann")
    log, registry = str(place / "log"), str(place / "registry")
    ship(place / "log", records(scores(370)), "20260105T010000-aa")
    assert main(["alarms", "--registry", registry, "--log", log, "--json"]) == 3
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["kind"] for event in events][-2:] == ["alarm", "silent"]  # the log is old
    assert main(["alarms", "show", "--log", log, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["machine_type"], shown["state"], shown["acknowledged"]) == ("fan", "alarm", False)
    acknowledge = ["alarms", "acknowledge", "fan", "--log", log, "--registry", registry, "--reason", "new tool"]
    assert main(acknowledge) == 0
    assert "acknowledged (new tool)" in capsys.readouterr().out
    assert main([*acknowledge, "--false-alarm"]) == 0
    assert main(["alarms", "show", "--log", log]) == 0
    assert "fan version 1: normal" in capsys.readouterr().out
    assert main(["alarms", "--registry", registry, "--log", log, "--false-alarms", "1/5000"]) == 0
    last = events_of(place / "log-alarms").query("actor == 'ann'")
    assert set(last["kind"]) == {"acknowledged", "normal"}
    assert main(acknowledge) == 1
    with pytest.raises(SystemExit, match="2"):
        main(["alarms", "--log", log])


def _forever(place: Path, url: str) -> None:
    delivery.PAUSES_S = (0.0, 0.0)
    step.ROWS = 50
    fan = steps(place, clips=1e6, recipients=[Webhook(url)])
    while True:
        fan.run(now=NOW)


def test_killed_thirty_times_it_loses_and_doubles_nothing(place: Path, receiver: Receiver) -> None:
    faults = tuple(range(150, 6000, 400))
    rows = records(scores(*faults, clips=6000))
    parts = [rows[start : start + 40] for start in range(0, 6000, 40)]
    order = list(range(len(parts)))
    late = order.pop(20)  # comes an hour (nine parts) later than its neighbours
    order.insert(29, late)
    chance, fork = random.Random(0), multiprocessing.get_context("fork")
    shipped = 0
    for _ in range(30):
        process = fork.Process(target=_forever, args=(place, receiver.url), daemon=True)
        process.start()
        for part in order[shipped : shipped + 5]:
            ship(place / "log", parts[part], f"20260105T{part:06d}-aa")
        shipped += 5
        time.sleep(chance.uniform(0.02, 0.5))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        shutil.rmtree(place / "log-alarms" / "locks", ignore_errors=True)  # else the dead one's claim lasts 30 s
    assert shipped == len(parts)
    steps(place, clips=1e6, recipients=[Webhook(receiver.url)]).run(now=NOW)
    state = load_state(open_store(str(place / "log-alarms")), "fan")
    assert state.monitor is not None and state.monitor.clips == 6000 and state.outbox == []
    logged = events_of(place / "log-alarms")
    assert logged["id"].is_unique
    kinds = list(logged.query("kind == 'alarm' or reason == 'alarm-over'")["kind"])
    assert kinds == ["alarm", "normal"] * len(faults)
    told = {event["id"] for event in receiver.events()}
    assert told == set(logged.query("kind != 'watch' and reason != 'watch-over'")["id"])


def test_the_demo_names_the_alarm_of_its_traffic(place: Path) -> None:
    ship(place / "log", records(scores(370)), "20260105T010000-aa")
    found = alarm_lines(str(place / "registry"), place / "log", "fan")
    assert len(found) == 1 and "fan: ALARM since" in found[0] and "listen to r3" in found[0]
    assert alarm_lines(str(place / "registry"), place / "log", "pump") == [
        "no alarm: pump has no version in production, or its faults are too weak"
    ]
