"""The board in Chromium: what a shift sees, and what somebody with the token can do."""

import re
from pathlib import Path

import pytest
from board_plant import Plant
from board_server import TOKEN, board
from chromium import Browser

from masd.alarms.state import load_state
from masd.registry.registry import Registry
from masd.storage.folder import FolderStore
from serving.board.sources import Sources


@pytest.fixture(autouse=True)
def desk(chromium: Browser) -> None:
    """A screen on a desk, nobody signed in, nothing fetched yet."""
    chromium.size(1280, 800)
    chromium._ask("Network.clearBrowserCookies")
    chromium.requests.clear()


def _sign_in(chromium: Browser, url: str, name: str = "Anna Ito") -> None:
    chromium.open(f"{url}/sign-in")
    chromium.fill("[name=name]", name)
    chromium.fill("[name=token]", TOKEN)
    chromium.press("main form button")


def _tiles(chromium: Browser) -> dict[str, str]:
    script = "[...document.querySelectorAll('.tile')].map(tile => [tile.id, tile.innerText])"
    return {name: " ".join(text.split()) for name, text in chromium.evaluate(script)}


def test_the_overview_has_a_tile_for_every_machine_worst_first(chromium: Browser, url: str) -> None:
    chromium.open(f"{url}/")
    tiles = _tiles(chromium)
    assert list(tiles) == ["fan", "bearing", "pump", "gearbox", "lathe", "slider", "valve"]
    assert re.search(r"ALARM since .* evidence 1 in [\d,]+ last clip \d+ min ago version 1 drift drift", tiles["fan"])
    assert "ALARM, ACKNOWLEDGED" in tiles["bearing"]
    assert "NO CLIPS" in tiles["pump"] and re.search(r"last clip [67] h ago", tiles["pump"])
    assert "NOT WATCHED" in tiles["lathe"]
    assert re.search(r"NORMAL .* of 1,000 .* version 1, 2 awaits approval drift no drift", tiles["valve"])
    assert chromium.count(".tile .spark path") == 7
    assert chromium.text().startswith("masd 1 alarm 1 acknowledged 1 no clips 1 unknown 1 not watched 2 normal")


def test_what_cannot_be_read_of_one_machine_is_said_on_its_tile(chromium: Browser, url: str) -> None:
    chromium.open(f"{url}/")
    tiles = _tiles(chromium)
    assert "UNKNOWN" in tiles["gearbox"] and "gearbox.json: is damaged" in tiles["gearbox"]
    assert "slider has no version '1'" in tiles["slider"]
    for machine in ("gearbox", "slider", "lathe"):
        chromium.open(f"{url}/machines/{machine}")
        assert chromium.status == 200
        assert chromium.count(".timeline svg") == 1


def test_nothing_is_fetched_from_elsewhere_and_no_script_runs(chromium: Browser, url: str) -> None:
    for page in ("/", "/machines/fan", "/sign-in"):
        chromium.open(f"{url}{page}")
        assert chromium.count("script, [onclick], [style]") == 0
    assert chromium.requests
    assert [one for one in chromium.requests if not one.startswith((url, "data:"))] == []
    # a script that somebody would bring into a page is not run
    chromium.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    assert chromium.evaluate("window.ran === undefined")


def test_a_machines_page(chromium: Browser, url: str, plant: Plant) -> None:
    chromium.open(f"{url}/machines/fan?span=6h")
    text = chromium.text()
    worst = plant.worst_of("fan")
    assert all(name in text for name in worst)
    assert "the gate says refuse" in text and "refused" in text
    assert "score, level_dbfs" in text
    assert chromium.count(".timeline rect.alarm") == 1 and chromium.count(".history .drift") == 3
    dots = chromium.evaluate("document.querySelector('.timeline .dots').getAttribute('d').split('M').length - 1")
    above = chromium.evaluate("document.querySelector('.timeline .above').getAttribute('d').split('M').length - 1")
    assert dots + above == 531  # three hours, less three minutes, of a clip every 20 seconds
    assert above > 80
    assert chromium.count(f"img.clip[alt='picture of {worst[0]}']") == 1
    assert chromium.evaluate("document.querySelector('img.clip').naturalWidth") == 1
    assert chromium.count("form[action$=promote], form[action$=acknowledge]") == 0


def test_zoom_leads_from_months_to_an_hour(chromium: Browser, url: str) -> None:
    chromium.open(f"{url}/machines/fan?span=90d")
    seen = []
    for _ in range(5):
        seen.append(chromium.evaluate("document.querySelector('.spans [aria-current]').innerText"))
        last = "[...document.querySelectorAll('.timeline a')].filter(a => !a.textContent.includes(' 0 clips')).length"
        place = chromium.evaluate(last) - 1
        link = (
            "[...document.querySelectorAll('.timeline a')].filter(a => !a.textContent.includes(' 0 clips'))"
            f"[{place}].getAttribute('href')"
        )
        chromium.open(f"{url}/machines/fan{chromium.evaluate(link)}")
    seen.append(chromium.evaluate("document.querySelector('.spans [aria-current]').innerText"))
    assert seen == ["90 days", "30 days", "1 week", "1 day", "6 hours", "1 hour"]
    assert chromium.count(".timeline .plot, .timeline svg") == 1


def test_an_approval_is_on_record_with_name_and_reason(chromium: Browser, url: str, plant: Plant) -> None:
    _sign_in(chromium, url)
    chromium.open(f"{url}/machines/valve")
    chromium.fill("form[action$=promote] [name=reason]", "listened to both, <b>better</b>")
    chromium.press("form[action$=promote] button")
    assert chromium.status == 200
    assert "The version is in production" in chromium.text()
    models = Registry.open(plant.registry)
    assert models.channel("valve", "production") == "2"
    record = models.audit("valve")[-1]
    assert (record["event"], record["version"], record["previous"]) == ("promote", "2", "1")
    assert (record["actor"], record["reason"]) == ("Anna Ito (board)", "listened to both, <b>better</b>")
    assert chromium.count("td b") == 0 and "<b>better</b>" in chromium.text()

    chromium.fill("form[action$=rollback] [name=reason]", "hums")
    chromium.press("form[action$=rollback] button")
    assert models.channel("valve", "production") == "1"
    assert models.audit("valve")[-1]["event"] == "rollback"


def test_an_alarm_is_acknowledged(chromium: Browser, url: str, plant: Plant) -> None:
    _sign_in(chromium, url)
    chromium.open(f"{url}/machines/fan")
    chromium.fill("form[action$=acknowledge] [name=reason]", "belt ordered")
    chromium.press("form[action$=acknowledge] button")
    assert "The alarm is acknowledged" in chromium.text()
    assert "Anna Ito (board): belt ordered" in chromium.text()
    monitor = load_state(FolderStore(plant.state), "fan").monitor
    assert monitor is not None and monitor.state == "alarm" and monitor.acknowledged
    chromium.open(f"{url}/")
    assert "ALARM, ACKNOWLEDGED" in _tiles(chromium)["fan"]


def test_a_wrong_token_is_refused_and_a_right_one_can_be_given_back(chromium: Browser, url: str) -> None:
    chromium.open(f"{url}/sign-in")
    chromium.fill("[name=name]", "Eve")
    chromium.fill("[name=token]", TOKEN[:-1])
    chromium.press("main form button")
    assert chromium.status == 403 and "token is wrong" in chromium.text()
    _sign_in(chromium, url)
    assert "Anna Ito" in chromium.text()
    chromium.press("header form button")
    assert "Anna Ito" not in chromium.text()


@pytest.mark.parametrize("page", ["/", "/machines/fan?span=6h", "/sign-in"])
@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_needs_no_scrolling_sideways(chromium: Browser, url: str, page: str, dark: bool) -> None:
    chromium.size(360, 740, dark=dark)
    chromium.open(f"{url}{page}")
    assert chromium.overflows() <= 0
    sizes = "[...document.querySelectorAll('label, .tile *, td, p')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    assert min(chromium.evaluate(sizes)) >= 12


CONTRAST = """
(() => {
  const part = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(part);
    return .2126 * r + .7152 * g + .0722 * b };
  const behind = e => { for (; e; e = e.parentElement) { const colour = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$|transparent/.test(colour)) return colour } return 'rgb(255, 255, 255)' };
  const ratio = e => { const own = light(getComputedStyle(e).color), other = light(behind(e));
    return (Math.max(own, other) + .05) / (Math.min(own, other) + .05) };
  return [...document.querySelectorAll('.tile span, .tally, .foot, td, th, h1, h2, dt, dd, small, a, .state')]
    .filter(e => e.innerText && e.checkVisibility() && ratio(e) < 4.5)
    .map(e => [ratio(e), e.className + ' ' + e.innerText.slice(0, 30)]) })()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_what_is_behind_it(chromium: Browser, url: str, dark: bool) -> None:
    """The ratio that WCAG asks of text, 4.5."""
    chromium.size(1280, 800, dark=dark)
    for page in ("/", "/machines/fan", "/machines/pump", "/machines/valve"):
        chromium.open(f"{url}{page}")
        assert chromium.evaluate(CONTRAST) == [], page


def test_an_alarm_can_be_read_at_ten_metres(chromium: Browser, url: str) -> None:
    """On a screen of 55 inches, 0.63 mm a pixel, capitals of 25 mm and more: some 0.7 of the size of the font."""
    chromium.size(1920, 1080)
    chromium.open(f"{url}/")
    size = "parseFloat(getComputedStyle(document.querySelector('{}')).fontSize)"
    for selector in (".tile.silent .name", ".tile.known .name", ".tally b"):
        assert 0.7 * 0.63 * chromium.evaluate(size.format(selector)) >= 25.0, selector


def test_a_board_that_only_shows(chromium: Browser, sources: Sources) -> None:
    with board(sources, token=False, changes=False) as address:
        chromium.open(f"{address}/machines/valve")
        assert chromium.count("form, [href='/sign-in']") == 0


def test_the_stored_comparison_opens_and_can_run_nothing(chromium: Browser, url: str) -> None:
    chromium.open(f"{url}/machines/valve")
    chromium.press("a[href$='comparison.html']")
    assert chromium.text() == "comparison of 2"
    assert chromium.evaluate("self.origin") == "null"  # a sandbox: no part of the board's own site


def test_two_hundred_machines(chromium: Browser, tmp_path: Path) -> None:
    plant = Plant(tmp_path / "root")
    plant.machine("fan")
    plant.hear("fan")
    plant.step()
    plant.check_drift("fan", ["no drift"] * 100)
    plant.copies("fan", [f"machine-{number:03d}" for number in range(199)])
    with board(Sources(str(plant.registry), str(plant.log))) as address:
        chromium.open(f"{address}/")
        assert chromium.count(".tile.normal") == 200
        assert chromium.count(".tile .spark path") == 200
        chromium.size(360, 740)
        chromium.open(f"{address}/")
        assert chromium.overflows() <= 0
