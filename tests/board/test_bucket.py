"""The board of a plant whose registry, log, states and drift histories are in a bucket."""

import re
from pathlib import Path

import pytest
from board_plant import Plant
from board_server import TOKEN, Client

from masd.alarms.recipients import event_keys, read_event
from masd.alarms.step import AlarmStep, state_beside
from masd.drift.history import beside
from masd.storage.opening import open_store
from serving.board.app import Board
from serving.board.changes import Changes
from serving.board.sessions import Sessions
from serving.board.sources import Sources

pytestmark = pytest.mark.slow


def _upload(folder: Path, url: str) -> None:
    store = open_store(url)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        store.write(path.relative_to(folder).as_posix(), path.read_bytes())


def test_tiles_and_a_machines_page_come_from_the_bucket_and_an_acknowledgement_goes_there(
    tmp_path: Path, s3_url: str
) -> None:
    plant = Plant(tmp_path / "plant")
    plant.machine("fan")
    plant.hear("fan", fault_hours=0.5)
    plant.check_drift("fan", ["no drift", "drift"])
    registry, log = f"{s3_url}/registry", f"{s3_url}/log"
    _upload(plant.registry, registry)
    _upload(plant.log, log)
    _upload(plant.drift, beside(log, "drift"))
    assert AlarmStep(registry, log, clips=1000.0).run(now=plant.now).in_alarm == ["fan"]

    sources = Sources(registry, log)
    board = Board(sources, Sessions(TOKEN), Changes(sources))
    client = Client(board.application(private=False, loopback=True), "http://127.0.0.1:8090")
    overview = client.get("/")
    assert overview.status_code == 200 and "ALARM" in overview.text.upper() and "fan" in overview.text
    assert client.post("/sign-in", data={"name": "Anna", "token": TOKEN}).status_code == 303
    state = open_store(state_beside(log))
    (worst,) = [read_event(state, key).worst for key in event_keys(state, "fan") if "-alarm-" in key]
    page = client.get("/machines/fan").text
    for shown in ("version 1", "level_dbfs", *worst):  # production, what has drifted, clips to listen to
        assert shown in page, shown
    value = re.search(r'name="form" value="([0-9a-f]{64})"', page)
    assert value is not None
    done = client.post("/machines/fan/acknowledge", data={"form": value[1], "reason": "bearing ordered"})
    assert done.status_code == 303
    assert [read_event(state, key).actor for key in event_keys(state, "fan") if "-acknowledged-" in key] == [
        "Anna (board)"
    ]
