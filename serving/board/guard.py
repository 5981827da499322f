"""Before and after every page: who may see it, what a browser may do with it."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from serving.board.sessions import COOKIE, Sessions

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

OPEN = ("/ready", "/sign-in", "/board.css")
"""What is answered to everybody."""
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Around the application; ``request.state.session`` is the caller's session, or None.

    :param sessions: None where there is no token.
    :param private: nothing but :data:`OPEN` is answered without a session.
    :param loopback: the board is for this computer only; a page of another site whose name leads here is refused.
    """

    def __init__(self, app: App, sessions: Sessions | None, *, private: bool, loopback: bool) -> None:
        self._app, self._sessions = app, sessions
        self._private, self._loopback = private, loopback

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        session = self._sessions.recognise(request.cookies.get(COOKIE)) if self._sessions else None
        scope.setdefault("state", {})["session"] = session
        refusal = self._refusal(request, signed_in=session is not None)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: Request, *, signed_in: bool) -> Response | None:
        host = request.headers.get("host", "")
        if self._loopback and urlsplit(f"//{host}").hostname not in LOOPBACK_NAMES:
            return PlainTextResponse(
                "this board answers only requests from its own computer; --host and a token allow others",
                403,
            )
        origin = request.headers.get("origin")
        if request.method not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse(
                "the form was sent from another site and was refused; open the board and try again", 403
            )
        if self._private and not signed_in and request.url.path not in OPEN:
            if request.method in ("GET", "HEAD"):
                return RedirectResponse("/sign-in", 303)
            return PlainTextResponse("sign in with the token first", 403)
        return None
