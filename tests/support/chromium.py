"""Chromium without a window, told what to do over a pipe (the DevTools protocol); no driver and no package needed."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S = 60.0


class Browser:
    """One tab."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, os.fdopen(answers, "rb", buffering=0)
        self._number, self._pending = 0, b""
        self._session = ""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self._ask(f"{domain}.enable")
        self.requests: list[str] = []
        """Addresses of everything that was fetched."""
        self.status = 0
        """Of the page that is open."""

    def size(self, width: int, height: int, *, dark: bool = False, scale: float = 1.0) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self._ask("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        self._leave(lambda: self._ask("Page.navigate", url=url))

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self) -> str:
        return " ".join(str(self.evaluate("document.body.innerText")).split())

    def count(self, selector: str) -> int:
        return int(self.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def fill(self, selector: str, value: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(value)}; 0")

    def press(self, selector: str) -> None:
        """Press a button or a link that leads to another page."""
        self._leave(lambda: self.evaluate(f"document.querySelector({json.dumps(selector)}).click(); 0"))

    def overflows(self) -> int:
        """By how many pixels the page is wider than the screen."""
        return int(self.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        content = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(content))

    def _leave(self, act: Any) -> None:
        """Do what leads to another page, and wait until that is there."""
        self.evaluate("window.left = false; 0")
        act()
        deadline = time.monotonic() + PATIENCE_S
        ready = "window.left !== false && document.readyState === 'complete'"
        while time.monotonic() < deadline:
            with contextlib.suppress(AssertionError):  # between two pages
                if self.evaluate(ready):
                    return
            time.sleep(0.02)
        raise AssertionError("the page has not changed")

    def _ask(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        if event.get("method") == "Network.responseReceived" and event["params"]["type"] == "Document":
            self.status = event["params"]["response"]["status"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            piece = self._answers.read(1 << 16)
            assert piece, "Chromium has ended"
            self._pending += piece
        message, _, self._pending = self._pending.partition(b"\0")
        return dict(json.loads(message))


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in ``folder``; the test is skipped, loudly, where there is no Chromium."""
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("PAGES NOT TESTED IN A BROWSER: no Chromium on the PATH")
    their_commands, commands = os.pipe()
    answers, their_answers = os.pipe()
    fixed = {their_commands: 3, their_answers: 4}  # where Chromium looks for them
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
    options += [f"--user-data-dir={folder}", "--no-first-run", "--disable-dev-shm-usage", "--disable-extensions"]

    def move() -> None:
        spare = [(os.dup(given), number) for given, number in fixed.items()]
        for copy, number in spare:
            os.dup2(copy, number)

    process = subprocess.Popen(
        [program, *options, "about:blank"],
        preexec_fn=move,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_commands)
    os.close(their_answers)
    try:
        yield Browser(commands, answers)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(commands)
