"""The same clip in every body and under every type that people send: always scored, and always with the same score."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from raw_http import Answer, call, form_of, machine_of

from masd.bundle.bundle import load_bundle
from serving.front.auth import StaticToken
from serving.front.proxy import Front, listening
from serving.server import RunningServer

pytestmark = pytest.mark.slow

FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=x"
SECRET = "sixteen-or-more-chars"


def _instances(*texts: str, **more: Any) -> bytes:
    return json.dumps({"instances": [{"b64": text} for text in texts], **more}).encode()


def _v2(clip: bytes, **changes: Any) -> dict[str, Any]:
    tensor = {"name": "clip", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(clip).decode()], **changes}
    return {"inputs": [{name: value for name, value in tensor.items() if value is not None}]}


def _binary(clip: bytes) -> bytes:
    size = {"binary_data_size": len(clip) + 4}
    head = {**_v2(clip, data=None, parameters=size), "parameters": {"binary_data_output": True}}
    return json.dumps(head).encode() + len(clip).to_bytes(4, "little") + clip


def _b64(clip: bytes) -> str:
    return base64.b64encode(clip).decode()


Body = Callable[[bytes], bytes]

BODIES: dict[str, tuple[str | None, Body]] = {
    "curl's default type": (FORM, lambda clip: clip),
    "its capitals": (FORM.upper(), lambda clip: clip),
    "its charset": (f"{FORM}; charset=utf-8", lambda clip: clip),
    "no type": (None, lambda clip: clip),
    "an empty type": ("", lambda clip: clip),
    "a wrong type": ("application/json", lambda clip: clip),
    "a form's type without a boundary": ("multipart/form-data", lambda clip: clip),
    "JSON without its type": (FORM, lambda clip: _instances(_b64(clip))),
    "line ends in base64": ("application/json", lambda clip: _instances(base64.encodebytes(clip).decode())),
    "the alphabet for URLs": (
        "application/json",
        lambda clip: _instances(base64.urlsafe_b64encode(clip).decode().rstrip("=")),
    ),
    "a data: URL": ("application/json", lambda clip: _instances("data:audio/wav;base64," + _b64(clip))),
    "a byte order mark": ("application/json", lambda clip: b"\xef\xbb\xbf" + _instances(_b64(clip))),
    "UTF-16": ("application/json", lambda clip: _instances(_b64(clip)).decode().encode("utf-16")),
    "v2": ("application/json", lambda clip: json.dumps(_v2(clip)).encode()),
    "nested v2": (
        "application/json",
        lambda clip: json.dumps(_v2(clip, shape=[1, 1], data=[[_b64(clip)]])).encode(),
    ),
    "v2 for a binary answer": (
        "application/json",
        lambda clip: json.dumps(_v2(clip) | {"parameters": {"binary_data_output": True}}).encode(),
    ),
    "binary v2": ("application/octet-stream", _binary),
    "a form": (PARTS, lambda clip: form_of(("data", clip, "binary"))),
    "a form without its type": (None, lambda clip: form_of(("data", clip, "binary"))),
    "a part in base64": (PARTS, lambda clip: form_of(("data", base64.encodebytes(clip), "base64"))),
    "an encoded form": (FORM, lambda clip: b"request_id=r&data=" + quote_from_bytes(clip).encode()),
    "two files": (PARTS, lambda clip: form_of(("data", clip, "binary"), ("data", clip, "binary"))),
}


def _scores(told: Any) -> list[float]:
    if "outputs" in told:
        return [json.loads(text)["score"] for text in told["outputs"][0]["data"]]
    return [entry["score"] for entry in told.get("predictions", [told])]


@pytest.fixture(scope="module")
def guarded(server: RunningServer) -> Iterator[str]:
    """The same server behind the listener of ``--auth static``."""
    front = Front(lambda: {"ready": True}, StaticToken(SECRET), server.url, "", max_bytes=10_000_000)
    with listening(front, "127.0.0.1", 0) as url:
        yield url


@pytest.fixture(scope="module")
def expected(tiny_bundle: Path, wav: Any) -> float:
    """The score of the clip that the bodies hold."""
    scorer = load_bundle(tiny_bundle).scorer
    return float(scorer.score([scorer.decode(wav(seed=3))])[0].score)


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("door", ["relay", "front"])
def test_it_is_scored(name: str, door: str, server: RunningServer, guarded: str, expected: float, wav: Any) -> None:
    clip = wav(seed=3)
    content_type, body = BODIES[name]
    answer = _post(server.url if door == "relay" else guarded, server, body(clip), content_type)
    assert answer.status == 200, answer.body
    assert _scores(answer.json) == [pytest.approx(expected, abs=1e-5)] * (2 if name == "two files" else 1)


def _post(url: str, server: RunningServer, body: Any, content_type: str | None) -> Answer:
    headers = {"Authorization": f"Bearer {SECRET}"}
    if content_type is not None:
        headers["Content-Type"] = content_type
    return call(url, "POST", f"/predictions/{machine_of(server)}", body, headers)


def test_a_body_of_unstated_length(server: RunningServer, guarded: str, wav: Any) -> None:
    for url in (server.url, guarded):
        assert _post(url, server, iter([wav()[:9_000], wav()[9_000:]]), FORM).status == 200


def test_a_form_with_parameters_and_a_broken_file(server: RunningServer, wav: Any) -> None:
    parts = [("data", wav(), "binary"), ("request_id", b"r", "binary"), ("data", b"no audio", "binary")]
    answer = _post(server.url, server, form_of(*parts), PARTS)
    good, bad = answer.json["predictions"]
    assert (good["request_id"], bad["error"]) == ("r", "undecodable")
