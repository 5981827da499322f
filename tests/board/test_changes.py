"""Who may change something, and how: everything else leaves registry and alarms as they were."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from board_plant import Plant
from board_server import TOKEN, Client

from masd.registry.registry import Registry
from serving.board import sessions as sessions_module
from serving.board.app import Board
from serving.board.changes import Changes
from serving.board.sessions import COOKIE, Sessions
from serving.board.sources import Sources

BASE = "http://127.0.0.1:8090"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    plant = Plant(tmp_path_factory.mktemp("fleet") / "root")
    plant.machine("fan")
    plant.candidate("fan", "ask")
    return plant


def _client(plant: Plant, *, changes: bool = True, private: bool = False, base: str = BASE) -> Client:
    sources = Sources(str(plant.registry), str(plant.log))
    board = Board(sources, Sessions(TOKEN), Changes(sources) if changes else None)
    application = board.application(private=private, loopback=not private)
    return Client(application, base)


@pytest.fixture
def client(fleet: Plant) -> Iterator[Client]:
    """Nothing that is done here may change anything."""
    models = Registry.open(fleet.registry)
    before = (models.channel("fan", "production"), models.audit("fan"))
    yield _client(fleet)
    assert (models.channel("fan", "production"), models.audit("fan")) == before


def _signed_in(client: Client) -> dict[str, str]:
    """Sign in; returns the fields of a form that is right."""
    assert client.post("/sign-in", data={"name": "Anna", "token": TOKEN}).status_code == 303
    value = re.search(r'name="form" value="([0-9a-f]{64})"', client.get("/machines/fan").text)
    assert value is not None
    return {"form": value[1], "seen": "1", "version": "2", "reason": "better"}


@pytest.mark.parametrize("action", ["promote", "rollback", "acknowledge"])
def test_without_the_token_everything_is_refused(client: Client, action: str) -> None:
    fields = {"form": "0" * 64, "seen": "1", "version": "2", "reason": "better"}
    answer = client.post(f"/machines/fan/{action}", data=fields)
    assert answer.status_code == 403 and "sign in with the token first" in answer.text
    client.cookies.set(COOKIE, "W10=." + "0" * 64)
    assert client.post(f"/machines/fan/{action}", data=fields).status_code == 403


def test_a_cookie_of_another_token_is_nobodys(client: Client) -> None:
    client.cookies.set(COOKIE, Sessions("another token, also long").begin("Eve"))
    assert client.post("/machines/fan/promote", data={"reason": "x"}).status_code == 403
    assert "Eve" not in client.get("/").text


def test_another_sites_form_is_refused(client: Client) -> None:
    right = _signed_in(client)
    assert client.post("/machines/fan/promote", data=right | {"form": "0" * 64}).status_code == 403
    without = {name: value for name, value in right.items() if name != "form"}
    assert client.post("/machines/fan/promote", data=without).status_code == 403
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999"):
        answer = client.post("/machines/fan/promote", data=right, headers={"Origin": origin})
        assert (
            answer.status_code == 403
            and answer.text == "the form was sent from another site and was refused; open the board and try again"
        ), origin


def test_a_name_that_was_made_to_lead_here_is_refused(client: Client) -> None:
    for host in ("evil.example:8090", "127.0.0.1.evil.example", ""):
        assert client.get("/", headers={"Host": host}).status_code == 403, host
    for host in ("localhost:8090", "[::1]:8090"):
        assert client.get("/ready", headers={"Host": host}).status_code == 200, host


def test_a_form_value_is_of_one_session(client: Client, fleet: Plant) -> None:
    other = _signed_in(_client(fleet))
    _signed_in(client)
    assert client.post("/machines/fan/promote", data=other).status_code == 403


def test_a_board_that_only_shows_changes_nothing(client: Client, fleet: Plant) -> None:
    right = _signed_in(client)
    shows = _client(fleet, changes=False)
    shows.cookies.update(client.cookies)
    answer = shows.post("/machines/fan/promote", data=right)
    assert answer.status_code == 403 and "--allow-changes" in answer.text
    assert 'action="/machines' not in shows.get("/machines/fan").text


def test_a_shift_later_one_signs_in_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    right = _signed_in(client)
    now = time.time()
    monkeypatch.setattr(sessions_module.time, "time", lambda: now + sessions_module.CHANGE_SECONDS + 1)
    assert client.post("/machines/fan/promote", data=right).status_code == 403
    assert "more than twelve hours ago" in client.get("/machines/fan").text
    monkeypatch.setattr(sessions_module.time, "time", lambda: now + sessions_module.LOOK_SECONDS + 1)
    assert "Anna" not in client.get("/").text


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"reason": "  "}, 409),
        ({"reason": "x" * 501}, 409),
        ({"reason": "x" * 20_000}, 413),
        ({"version": "99"}, 409),
        ({"version": "../1"}, 409),
        ({"seen": "7"}, 409),
    ],
)
def test_what_is_not_right_is_said_and_changes_nothing(client: Client, changed: dict[str, str], status: int) -> None:
    assert client.post("/machines/fan/promote", data=_signed_in(client) | changed).status_code == status


def test_what_cannot_be_done_is_said(client: Client) -> None:
    right = _signed_in(client)
    answer = client.post("/machines/fan/rollback", data=right)
    assert answer.status_code == 409 and "no earlier production version" in answer.text
    answer = client.post("/machines/fan/acknowledge", data=right)
    assert answer.status_code == 409 and "no alarm to acknowledge" in answer.text
    assert client.post("/machines/fan/delete", data=right).status_code == 404
    assert client.post("/machines/valve/promote", data=right).status_code == 404
    assert client.get("/machines/fan/promote").status_code == 405


def test_on_another_host_every_page_needs_the_token(fleet: Plant) -> None:
    client = _client(fleet, private=True, base="https://board.plant.example")
    for page in ("/", "/machines/fan", "/machines/fan/versions/2/comparison.html", "/machines/fan/clips/a.png"):
        answer = client.get(page)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in"), page
    assert client.post("/machines/fan/promote", data={}).status_code == 403
    assert client.get("/ready").json() == {"ready": True}
    answer = client.post("/sign-in", data={"name": "Anna", "token": TOKEN})
    kept = answer.headers["set-cookie"].lower()
    assert all(part in kept for part in ("httponly", "samesite=strict", "secure"))
    assert client.get("/machines/fan").status_code == 200


def test_headers_of_every_answer(client: Client) -> None:
    for page in ("/", "/machines/fan", "/machines/none", "/sign-in", "/board.css", "/ready", "/nothing"):
        headers = client.get(page).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"], page
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
    stored = client.get("/machines/fan/versions/2/comparison.html").headers["content-security-policy"]
    assert stored.startswith("sandbox;") and "script-src" not in stored


@pytest.mark.parametrize("name", ["%2e%2e", "a%2fb", "<script>", "x" * 100, "a%00b", "café"])
def test_names_that_are_none(client: Client, name: str) -> None:
    for page in (f"/machines/{name}", f"/machines/{name}/clips/a.png", f"/machines/fan/clips/{name}"):
        answer = client.get(page)
        assert answer.status_code in (404, 405, 307), page
        assert "<script>" not in answer.text


def test_tokens_and_cookies_never_fail() -> None:
    sessions = Sessions(TOKEN)
    for cookie in (None, "", ".", "x.y", "é.é", "\ud800." + "0" * 64, sessions.begin("Anna")[:-1], "a" * 5000):
        assert sessions.recognise(cookie) is None, cookie
    for token in ("", "é", "\ud800", TOKEN + "x", TOKEN.upper()):
        assert not sessions.is_token(token), token
    session = sessions.recognise(sessions.begin("  Anna \n Ito " + "x" * 99))
    assert session is not None and session.name.startswith("Anna Ito xxx") and len(session.name) == 60
    assert sessions.is_form_value(session, sessions.form_value(session)) and not sessions.is_form_value(session, "é")


def test_kept_clips_are_those_of_the_machine(fleet: Plant, tmp_path: Path) -> None:
    fleet.keep_clip("fan", "r1")
    (fleet.clips / "fan" / "r1.html").write_text("<script>")
    sources = Sources(str(fleet.registry), str(fleet.log), clips=str(fleet.clips))
    client = Client(Board(sources, None, None).application(private=False, loopback=True), BASE)
    assert client.get("/machines/fan/clips/r1.png").headers["content-type"] == "image/png"
    for missing in ("r2.png", "r1.html", "r1", ".png", "..%2Ffan%2Fr1.png"):
        assert client.get(f"/machines/fan/clips/{missing}").status_code == 404, missing
    assert sources.kept_files("fan", ["r1", "r2", "../fan/r1", "é", ""]) == {"r1": ["r1.png"]}
