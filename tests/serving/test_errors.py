"""Every row of the error table in docs/serving.md, against live servers: what it says is what comes back."""

import base64
import io
import os
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from raw_http import Answer, call, form_of, machine_of, post, post_json, workers

from serving.front.auth import StaticToken
from serving.front.proxy import Front, listening
from serving.server import MAX_REQUEST_BYTES, RunningServer, running_server

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
ROW = re.compile(r"^\| (\d{3}) \| (?:`(\w+)`|\(no body\)) \| (.+?) \|", re.MULTILINE)
SECRET = "sixteen-or-more-chars"

Row = tuple[int, str, bool]
"""Status, the name, and whether the row is of ``--auth static``: 413 ``too_large`` is there twice."""

Case = Callable[[Any], Answer]


def _rows() -> list[Row]:
    table = PAGE.read_text(encoding="utf-8").partition("\n## Errors\n")[2]
    return [(int(status), name, "--auth static" in when) for status, name, when in ROW.findall(table)]


def _encode(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


def _while_asleep(at: Any) -> tuple[Answer, Answer]:
    """What the clip is told that the worker never answers, and one that finds the queue (of two) full."""
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(post, at.faulty, b"sleep")
        time.sleep(0.5)
        others = [pool.submit(post, at.faulty, at.wav()) for _ in range(4)]
        answers = [other.result() for other in others]
    assert sorted(answer.status for answer in answers) == [200, 200, 503, 503]
    return first.result(), next(answer for answer in answers if answer.status == 503)


def _while_killed(at: Any) -> Answer:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, at.faulty, b"sleep")
        time.sleep(0.5)
        (pid,) = workers(at.faulty)
        os.kill(pid, signal.SIGKILL)
        answer = waiting.result()
    assert post(at.faulty, at.wav()).status == 200  # another worker takes over
    return answer


def _killed(at: Any) -> Answer:
    """The 507 for a worker that ended. TorchServe may answer 500, the table's other row, before it has noticed how."""
    for _ in range(4):
        answer = _while_killed(at)
        if answer.status != 500:
            return answer
        assert answer.json["type"] == "InternalServerException"
    pytest.fail("four killed workers and no 507")


def _in_token_mode(at: Any) -> Answer:
    with running_server([at.bundle], auth="token") as server:
        return post(server, at.wav())


def _front(at: Any, path: str, headers: dict[str, str], *, alive: bool = True, body: bytes = b"") -> Answer:
    inference = at.server.url if alive else "http://127.0.0.1:9"
    front = Front(lambda: {"ready": True}, StaticToken(SECRET), inference, "", max_bytes=1_000)
    with listening(front, "127.0.0.1", 0) as url:
        return call(url, "POST", path.format(machine_of(at.server)), body, headers)


KNOWN = {"Authorization": f"Bearer {SECRET}"}

CASES: dict[Row, list[Case]] = {
    (400, "empty", False): [
        lambda at: post(at.server, b""),
        lambda at: post(at.server, _encode(np.zeros(0))),
        lambda at: post(at.server, b"--x--\r\n", "multipart/form-data; boundary=x"),
        lambda at: call(at.server.url, "GET", f"/predictions/{machine_of(at.server)}"),
    ],
    (400, "undecodable", False): [
        lambda at: post(at.server, b"no audio"),
        lambda at: post(at.server, b'{"instances": ', "application/json"),
        lambda at: post(at.server, b"--x\r\nand nothing more"),
        lambda at: post(at.server, form_of(("data", b"=00", "quoted-printable")), "multipart/form-data; boundary=x"),
        lambda at: post_json(at.server, {"instances": [{"b64": "no base64"}]}),
    ],
    (400, "sample_rate", False): [
        lambda at, rate=rate: post(at.server, _encode(np.ones(900), rate)) for rate in (999, 400_001)
    ],
    (400, "channel", False): [
        lambda at: post(at.server, _encode(np.ones((1_000, 65)))),
        lambda at: post(at.faulty, _encode(np.ones((1_000, 2)))),
    ],
    (400, "not_finite", False): [
        lambda at, value=value: post(at.server, _encode(np.full(1_000, value), subtype="FLOAT"))
        for value in (np.nan, np.inf, 1e30)
    ],
    (400, "silent", False): [lambda at: post(at.faulty, at.wav(level=1e-5))],
    (413, "too_long", False): [
        lambda at: post(at.faulty, at.wav(seconds=21)),
        lambda at: post(at.server, at.wav(seconds=3_601, rate=1_000)),
    ],
    (413, "too_large", False): [
        lambda at: post(at.server, b'{"instances": "' + b"A" * (32 << 20) + b'"}', "application/json"),
        lambda at: post(at.server, b'{"instances": [' + b"{}," * 10_000 + b"{}]}", "application/json"),
    ],
    (422, "invalid_parameters", False): [
        lambda at: post_json(at.server, {"instances": [at.b64], "parameters": {"treshold": 1}}),
        lambda at: post_json(at.server, {"instances": [at.b64], "parameters": {"threshold": "high"}}),
        lambda at: post_json(at.server, {"clips": [at.b64]}),
        lambda at: post_json(at.server, {"instances": [at.b64] * 65}),
        lambda at: post_json(at.server, {"instances": [at.b64] * 9}, "explanations"),
    ],
    (422, "not_explainable", False): [lambda at: post(at.faulty, at.wav(), call_for="explanations")],
    (500, "internal", False): [lambda at: post(at.faulty, b"bug")],
    (507, "out_of_memory", False): [lambda at: post(at.faulty, b"memory")],
    (400, "BadRequestException", False): [
        lambda at: call(at.server.url, "POST", f"/predictions/{machine_of(at.server)}", b"", {"X-A": "a" * 9_000})
    ],
    (404, "ModelNotFoundException", False): [lambda at: call(at.server.url, "POST", "/predictions/nobody", at.wav())],
    (404, "ModelVersionNotFoundException", False): [
        lambda at: call(at.server.url, "POST", f"/predictions/{machine_of(at.server)}/99", at.wav())
    ],
    (404, "ResourceNotFoundException", False): [
        lambda at: call(at.server.url, "POST", "/nothing", at.wav()),
        lambda at: call(at.server.url, "POST", f"/v2/models/{machine_of(at.server)}/versions/1/infer", at.wav()),
    ],
    (413, "", False): [lambda at: post(at.server, bytes(MAX_REQUEST_BYTES + 1))],
    (500, "ErrorDataDecoderException", False): [
        lambda at: call(
            at.server.url,
            "POST",
            f"/predictions/{machine_of(at.server)}",
            iter([form_of(("data", base64.b64encode(at.wav()), "base64"))]),  # without a length
            {"Content-Type": "multipart/form-data; boundary=x"},
        )
    ],
    (500, "InternalServerException", False): [lambda at: at.asleep[0]],
    (507, "InternalServerException", False): [_killed],
    (503, "ServiceUnavailableException", False): [lambda at: at.asleep[1]],
    (400, "InvalidKeyException", False): [_in_token_mode],
    (401, "unauthorized", True): [
        lambda at: _front(at, "/predictions/{}", {}),
        lambda at: _front(at, "/predictions/{}", {"Authorization": "Bearer another"}),
    ],
    (404, "not_found", True): [lambda at: _front(at, "/models/{}", KNOWN)],
    (413, "too_large", True): [lambda at: _front(at, "/predictions/{}", KNOWN, body=bytes(1_001))],
    (503, "not_ready", True): [lambda at: _front(at, "/predictions/{}", KNOWN, alive=False)],
}


@pytest.fixture(scope="module")
def at(server: RunningServer, faulty_server: RunningServer, tiny_bundle: Path, wav: Any) -> Any:
    """What the cases are asked of."""
    clip = {"b64": base64.b64encode(wav()).decode()}
    here = SimpleNamespace(server=server, faulty=faulty_server, bundle=tiny_bundle, wav=wav, b64=clip)
    here.asleep = _while_asleep(here)
    return here


@pytest.mark.parametrize("row", _rows(), ids=str)
def test_what_the_table_says_comes_back(row: Row, at: Any) -> None:
    status, name, _ = row
    for case in CASES[row]:
        answer = case(at)
        assert answer.status == status, answer.body
        if not name:
            assert answer.body == b""
            continue
        told = answer.json
        assert told["code"] == status
        assert told.get("error", told.get("type")) == name
        assert set(told) == ({"code", "error", "detail"} if "error" in told else {"code", "type", "message"})
        assert "secret" not in answer.body.decode().lower()


def test_every_case_is_a_row() -> None:
    assert sorted(CASES) == sorted(_rows())
