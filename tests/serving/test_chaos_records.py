"""What `make chaos` counts as recorded: what was shipped, and what waits, sealed or open or set aside."""

from pathlib import Path

from clip_score import SCORE

from bench.server.chaos.records import recorded, seal
from masd.storage.opening import open_store
from serving.log_shipper import LogShipper
from serving.worker.inference_log import InferenceLog


def test_a_record_is_found_wherever_it_is(tmp_path: Path) -> None:
    spool, place = tmp_path / "spool", str(tmp_path / "log")
    (tmp_path / "log").mkdir()
    log, shipper = InferenceLog(spool, "fan"), LogShipper(spool, open_store(place))
    log.write([("first", SCORE)])
    seal(spool)
    log.write([("second", SCORE)])
    assert recorded(place, spool) == (set(), {"first", "second"})
    shipper.step()
    assert recorded(place, spool) == ({"first"}, {"second"})
    with log.path.open("a") as file:
        file.write('{"time": "torn", "request_id": "third", "mach\n')
    seal(spool)
    shipper.step()
    assert recorded(place, spool) == ({"first", "second"}, {"third"})
