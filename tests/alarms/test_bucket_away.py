"""Log, state and events in a bucket that is away again and again, in the middle of steps: no event lost or doubled."""

import itertools
import random
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from alarm_logs import at, records, registered
from faulty_proxy import FaultyProxy, Mode, faulty_proxy
from s3_gateway import S3Gateway

from masd.alarms import step
from masd.alarms.recipients import event_keys, read_event
from masd.alarms.state import load_state
from masd.alarms.step import AlarmStep, state_beside
from masd.errors import MasdError
from masd.storage.opening import open_store
from masd.storage.protocol import ObjectStore

pytestmark = pytest.mark.slow

CLIPS, FAULTS, PART = 2400, (300, 1100, 1900), 40
MODES: tuple[Mode, ...] = ("html", "unavailable", "nothing")


@pytest.fixture
def proxy(s3_gateway: S3Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    monkeypatch.setattr("masd.storage.s3.RETRIES", 0)
    monkeypatch.setattr("masd.storage.s3.READ_S", 0.5)
    with faulty_proxy(s3_gateway.endpoint) as started:
        yield started


def _put(store: ObjectStore, rows: pd.DataFrame, number: int) -> None:
    content = BytesIO()
    rows.to_parquet(content, index=False)
    store.write(f"fan/{rows['time'].iloc[-1][:10]}/fan-{number:06d}-aa.parquet", content.getvalue())


def _free(state: ObjectStore) -> None:
    """A step that has lost the bucket cannot withdraw its claim, which would last for 30 s."""
    for item in state.list("locks/"):
        state.delete(item.key)


def test_a_bucket_that_is_away_at_any_moment(
    tmp_path: Path, s3_url: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "ROWS", 50)
    registered(tmp_path / "registry", clips=1e6)
    log, state = open_store(s3_url), open_store(state_beside(s3_url))  # past the proxy
    monkeypatch.setenv("MASD_S3_ENDPOINT", proxy.endpoint)
    alarms = AlarmStep(str(tmp_path / "registry"), s3_url, clips=1e6)
    scores = np.random.default_rng(1).normal(size=CLIPS)
    for fault in FAULTS:
        scores[fault : fault + 30] += 6.0
    rows = records(scores)
    order = list(range(CLIPS // PART))
    order.insert(19, order.pop(10))  # an hour late: nine parts
    parts, chance, ended, failures = iter(order), random.Random(0), threading.Event(), itertools.count()

    def go_on() -> None:
        while not ended.is_set():
            try:
                if alarms.run(now=datetime.fromisoformat(at(CLIPS))).failed:
                    next(failures)
            except MasdError:
                next(failures)

    loop = threading.Thread(target=go_on)
    loop.start()
    while batch := list(itertools.islice(parts, 4)):
        for part in batch:
            _put(log, rows[part * PART : (part + 1) * PART], part)
        time.sleep(chance.uniform(0.1, 0.4))
        proxy.mode = chance.choice(MODES)
        time.sleep(chance.uniform(0.05, 0.6))
        proxy.mode = "through"
        _free(state)
    ended.set()
    loop.join()
    assert next(failures) >= 5
    _free(state)
    assert alarms.run(now=datetime.fromisoformat(at(CLIPS))).failed == {}

    known = load_state(state, "fan")
    assert known.monitor is not None and known.monitor.clips == CLIPS and known.outbox == []
    events = [read_event(state, key) for key in event_keys(state, "fan")]
    assert len({event.id for event in events}) == len(events)
    told = [event.kind for event in events if event.kind == "alarm" or event.reason == "alarm-over"]
    assert told == ["alarm", "normal"] * len(FAULTS)
