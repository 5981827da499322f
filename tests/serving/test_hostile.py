"""Whatever is sent, the worker stays: every hostile input gets its answer in time, and the next clip the right one."""

import json
import socket
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hostile import hostile
from raw_http import call, machine_of, post, workers

from masd.bundle.bundle import load_bundle
from serving.server import RunningServer

pytestmark = pytest.mark.slow

SECONDS = 5.0
GOOD_EVERY = 20

PATHS = (
    "/predictions/../../etc/passwd",
    "/predictions/..%2f..%2fetc%2fpasswd",
    "/predictions/%2e%2e",
    "/predictions/{machine}%00",
    "/predictions/{machine};ls",
    "/predictions/{machine}/../../models",
    "/predictions/{machine}/9999999999999999999999",
    "/predictions/",
    "/predictions/%ff%fe",
    "/predictions/" + "x" * 3_000,
    "/models",
    "/explanations/nobody",
    "/v2/models/../infer",
    "/v1/models/nobody:predict",
)


def test_two_hundred_hostile_bodies(server: RunningServer, tiny_bundle: Path, wav: Any) -> None:
    scorer = load_bundle(tiny_bundle).scorer
    good = wav(seed=7)
    expected = scorer.score([scorer.decode(good)])[0].score
    before, inputs = workers(server), hostile()
    assert len(inputs) >= 200
    assert not [name for name, count in Counter(one.name for one in inputs).items() if count > 1]
    wrong = []
    for number, one in enumerate(inputs):
        answer = post(server, one.body, one.content_type)
        told = answer.json or {}
        refused = answer.status in (400, 413, 422) and (set(told), told.get("code")) == (
            {"code", "error", "detail"},
            answer.status,
        )
        if not (refused or (answer.status == 200 and _is_scored(told))) or answer.seconds > SECONDS:
            wrong.append((one.name, answer.status, answer.body[:200], answer.seconds))
        if number % GOOD_EVERY == 0:
            assert post(server, good).json["score"] == pytest.approx(expected, abs=1e-5), one.name
    assert not wrong
    assert post(server, good).json["score"] == pytest.approx(expected, abs=1e-5)
    assert workers(server) == before


def _is_scored(told: dict[str, Any]) -> bool:
    """A damaged file that still is one may be scored; then the answer is a whole one, with a number in it."""
    if "predictions" in told:
        return all(_is_scored(entry) or entry["code"] in (400, 413) for entry in told["predictions"])
    return json.dumps(told).find("NaN") < 0 and told["score"] >= 0.0 and bool(told["segments"])


def test_hostile_addresses_and_heads(server: RunningServer, wav: Any) -> None:
    before, machine = workers(server), machine_of(server)
    for path in PATHS:
        answer = call(server.url, "POST", path.format(machine=machine), wav())
        assert (answer.status, answer.json["code"]) == (404, 404), path
    for headers in ({"X-A": "a" * 20_000}, {"Content-Type": "a" * 9_000}):
        answer = call(server.url, "POST", f"/predictions/{machine}", b"", headers)
        assert (answer.status, answer.json["code"]) == (400, 400)
    for headers in ({"Content-Type": "\xe9; \xff"}, {"Content-Encoding": "zstd"}, {"explain": "True"}):
        assert call(server.url, "POST", f"/predictions/{machine}", wav(), headers).status == 200
    address = server.url.removeprefix("http://").split(":")
    for text in (b"\x16\x03\x01\x02\x00", b"GARBAGE\r\n\r\n", b"POST /predictions/x HTTP/9.9\r\n\r\n", b"\0" * 1_000):
        with suppress(ConnectionResetError), socket.create_connection(address, timeout=SECONDS) as connection:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1_000)[:10] in (b"HTTP/1.1 4", b"")
    half = f"POST /predictions/{machine} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nRIFF".encode()
    for _ in range(20):  # callers who leave in the middle of their clip
        with socket.create_connection(address, timeout=SECONDS) as connection:
            connection.sendall(half)
    assert post(server, wav()).status == 200
    assert workers(server) == before


def test_a_body_beyond_the_limit_of_the_server(server: RunningServer, wav: Any) -> None:
    """TorchServe refuses it by itself, and leaves the body of its answer empty."""
    before = workers(server)
    answer = post(server, bytes(160_000_000))
    assert (answer.status, answer.body) == (413, b"")
    assert post(server, wav()).status == 200
    assert workers(server) == before
