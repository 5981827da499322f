"""The result of the last alarm check, as gauges for Prometheus, and the address where Prometheus reads them."""

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from masd.alarms.exposition import CONTENT_TYPE, Sample, metric
from masd.alarms.step import Outcome
from masd.drift.history import DriftCheck, load_history
from masd.errors import MasdError, one_line
from masd.storage.protocol import ObjectStore, StoredObject

LEVELS = {"normal": 0, "watch": 1, "alarm": 2}


class Gauges:
    """The gauges of the last step that came to its end; ``drift`` is the store of drift histories."""

    def __init__(self, drift: ObjectStore) -> None:
        self.text = ""
        self._drift = drift
        self._checks: dict[str, tuple[StoredObject, DriftCheck | None]] = {}

    def take(self, outcome: Outcome) -> None:
        """Take what a step has found."""
        states: list[Sample] = []
        evidence: list[Sample] = []
        asked: list[Sample] = []
        heard: list[Sample] = []
        silent: list[Sample] = []
        for one in outcome.machines:
            labels = {"ModelName": one.machine_type, "ModelVersion": one.model_version}
            states.append((labels, LEVELS[one.state]))
            evidence.append((labels, float(f"{one.evidence:.6g}")))
            asked.append((labels, one.asked))
            silent.append(({"ModelName": one.machine_type}, int(one.silent)))
            if one.last_heard:
                heard.append(({"ModelName": one.machine_type}, datetime.fromisoformat(one.last_heard).timestamp()))
        names = [one.machine_type for one in outcome.machines]
        failed = [({"ModelName": name}, int(name in outcome.failed)) for name in sorted({*names, *outcome.failed})]
        checks = self._last_checks(names)
        drifted = [({"ModelName": name}, int(check.verdict == "drift")) for name, check in checks.items()]
        ended: list[Sample] = [({"Loop": "alarms"}, round(time.time(), 3))]
        self.text = (
            metric("masd_alarm_state", "gauge", "0 normal, 1 watch, 2 alarm", states)
            + metric(
                "masd_alarm_evidence",
                "gauge",
                "Evidence of a fault: a normal machine reaches it once in this number of clips",
                evidence,
            )
            + metric(
                "masd_alarm_asked", "gauge", "Configured mean number of normal clips between two false alarms", asked
            )
            + metric("masd_last_heard_seconds", "gauge", "Time of the last clip, in seconds since 1970", heard)
            + metric("masd_not_heard", "gauge", "1 if there was no clip for longer than usual", silent)
            + metric("masd_alarm_failed", "gauge", "1 if the last alarm check could not check the machine", failed)
            + metric("masd_drift", "gauge", "1 if the last drift check found drift", drifted)
            + metric(
                "masd_loop_last_success_seconds",
                "gauge",
                "Time of the last success of a loop, in seconds since 1970",
                ended,
            )
        )

    def _last_checks(self, machines: Collection[str]) -> dict[str, DriftCheck]:
        """The last drift check of each machine; a history is read again when it has changed. Those that cannot be read
        are left out: the board names them.
        """
        found: dict[str, DriftCheck] = {}
        try:
            listed = {
                item.key.removeprefix("machines/").removesuffix(".json"): item for item in self._drift.list("machines/")
            }
        except MasdError:
            return {}
        for machine in sorted(listed.keys() & set(machines)):
            item = listed[machine]
            if machine not in self._checks or self._checks[machine][0] != item:
                try:
                    history = load_history(self._drift, machine)
                except MasdError:
                    continue
                self._checks[machine] = (item, history[-1] if history else None)
            if (check := self._checks[machine][1]) is not None:
                found[machine] = check
        return found


@contextmanager
def exposed(gauges: Gauges, host: str, port: int) -> Iterator[str]:
    """Answer ``GET /metrics`` with the gauges inside the block; yields the address.

    :raises MasdError: the port cannot be used.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            known = self.path == "/metrics"
            body = gauges.text.encode() if known else b"not found: the metrics are at /metrics\n"
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", CONTENT_TYPE if known else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise MasdError(
            f"--metrics-port {port} on {host} cannot be used: {one_line(error)}; choose another port"
        ) from error
    with server:
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        try:
            yield f"http://{host}:{server.server_address[1]}/metrics"
        finally:
            server.shutdown()
