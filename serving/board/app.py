"""The pages: overview, a machine, what is kept of clips and versions; changes are in :mod:`serving.board.changes`."""

from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from masd.data.machine_name import MACHINE_NAME
from masd.errors import MasdError, one_line
from masd.registry.layout import place_of
from serving.board.changes import DONE, Changes, form_of
from serving.board.clips import read_clip
from serving.board.guard import App, Guard
from serving.board.machine import MOST_RECORDS, known, machine_page
from serving.board.overview import Overviews
from serving.board.pages import page, style_sheet
from serving.board.sessions import COOKIE, LOOK_SECONDS, Session, Sessions
from serving.board.sources import Sources
from serving.board.timeline.view import SPANS, view_of
from serving.package import COMPARISON

REFRESH_SECONDS = 30
COMPARISON_POLICY = (
    "sandbox; default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
)
"""A stored page brings its own style and sounds, and may run nothing."""


class Board:
    """The application's endpoints.

    :param sessions: None where there is no token: then nobody can sign in.
    :param changes: None where the board only shows.
    """

    def __init__(self, sources: Sources, sessions: Sessions | None, changes: Changes | None) -> None:
        self._sources, self._sessions, self._changes = sources, sessions, changes
        self._overviews = Overviews(sources)

    def application(self, *, private: bool, loopback: bool) -> App:
        """An ASGI application, guarded as :class:`Guard` says."""
        machine = "/machines/{machine}"
        routes = [
            Route("/", self._overview),
            Route("/ready", self._ready),
            Route("/board.css", self._style),
            Route("/sign-in", self._sign_in, methods=["GET", "POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route(machine, self._machine),
            Route(machine + "/clips/{file}", self._clip),
            Route(machine + "/versions/{version:int}/" + COMPARISON, self._comparison),
            Route(machine + "/{action:str}", self._change, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {MasdError: self._failed, HTTPException: self._refused}
        return Guard(
            Starlette(routes=routes, exception_handlers=handlers), self._sessions, private=private, loopback=loopback
        )

    def _overview(self, request: Request) -> Response:
        overview = self._overviews.now()
        answer = self._page(request, "overview.html", overview=overview, refresh=REFRESH_SECONDS)
        answer.headers["Server-Timing"] = f"look;dur={1000 * overview.seconds:.0f}"
        return answer

    def _machine(self, request: Request) -> Response:
        machine = self._name(request)
        now = datetime.now(UTC)
        view = view_of(request.query_params.get("span"), request.query_params.get("end"), now)
        session: Session | None = request.state.session
        may_change = self._changes is not None and session is not None and session.may_change
        closer = view.closer()
        return self._page(
            request,
            "machine.html",
            found=machine_page(self._sources, machine, view, now),
            now=now,
            spans=[(name, label) for name, (label, _) in SPANS.items()],
            closer=None if closer is None else SPANS[closer][1],
            changes=self._changes is not None,
            may_change=may_change,
            done=DONE.get(request.query_params.get("done", "")),
            most_records=MOST_RECORDS,
            refresh=REFRESH_SECONDS if view.live and not may_change else None,  # nobody loses what was typed
        )

    def _clip(self, request: Request) -> Response:
        if self._sources.clips is None:
            raise HTTPException(404, "no recordings or pictures are kept here: start masd board with --clips")
        machine = self._name(request)
        try:
            content, media = read_clip(self._sources.clips, machine, request.path_params["file"])
        except MasdError as error:
            raise HTTPException(404, one_line(error)) from error
        return Response(content, media_type=media)

    def _comparison(self, request: Request) -> Response:
        key = f"{place_of(self._name(request))}/{request.path_params['version']}/{COMPARISON}"
        try:
            content = self._sources.registry.store.read(key)
        except MasdError as error:
            raise HTTPException(404, one_line(error)) from error
        return Response(content, media_type="text/html", headers={"Content-Security-Policy": COMPARISON_POLICY})

    async def _change(self, request: Request) -> Response:
        machine, session = request.path_params["machine"], request.state.session
        if self._changes is None:
            raise HTTPException(403, "this board is read-only: start it with --allow-changes")
        if session is None or not session.may_change:
            raise HTTPException(403, "sign in with the token first")
        form = await form_of(request)
        if self._sessions is None or not self._sessions.is_form_value(session, form.get("form", "")):
            raise HTTPException(403, "this form belongs to another session: open the machine's page again")
        await run_in_threadpool(self._name, request)
        done = await run_in_threadpool(
            self._changes.make, request.path_params["action"], machine, f"{session.name} (board)", form
        )
        self._overviews.forget()
        return RedirectResponse(f"/machines/{machine}?done={done}", 303)

    async def _sign_in(self, request: Request) -> Response:
        if self._sessions is None:
            raise HTTPException(403, "this board is read-only; start it with --allow-changes and a token")
        if request.method == "GET":
            return self._page(request, "sign_in.html", wrong="")
        form = await form_of(request)
        name = " ".join(form.get("name", "").split())
        if not name or not name.isprintable() or not self._sessions.is_token(form.get("token", "")):
            wrong = "The token is wrong." if name and name.isprintable() else "Enter your name."
            return self._page(request, "sign_in.html", 403, wrong=wrong)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE,
            self._sessions.begin(name),
            max_age=LOOK_SECONDS,
            httponly=True,
            samesite="strict",
            secure="https" in (request.url.scheme, request.headers.get("x-forwarded-proto")),
        )
        return answer

    async def _sign_out(self, request: Request) -> Response:
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    async def _ready(self, request: Request) -> Response:
        return JSONResponse({"ready": True})

    async def _style(self, request: Request) -> Response:
        return Response(style_sheet(), media_type="text/css", headers={"Cache-Control": "max-age=300"})

    def _name(self, request: Request) -> str:
        machine = str(request.path_params["machine"])
        if not MACHINE_NAME.fullmatch(machine) or not known(self._sources, machine):
            raise HTTPException(404, "there is no such machine in the registry")
        return machine

    def _page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        session: Session | None = request.state.session
        shared = {
            "session": session,
            "form": "" if session is None or self._sessions is None else self._sessions.form_value(session),
            "can_sign_in": self._sessions is not None,
            "refresh": None,
        }
        return page(template, status, **(shared | values))

    def _refused(self, request: Request, error: HTTPException) -> Response:
        titles = {403: "Not allowed", 404: "Not found", 409: "Nothing was changed", 413: "Too large"}
        return self._message(request, error.status_code, titles.get(error.status_code, "Not possible"), error.detail)

    def _failed(self, request: Request, error: MasdError) -> Response:
        status, title = (409, "Nothing was changed") if request.method == "POST" else (503, "Not available")
        return self._message(request, status, title, one_line(error))

    def _message(self, request: Request, status: int, title: str, text: str) -> Response:
        machine = request.path_params.get("machine", "") if "path_params" in request.scope else ""
        back = f"/machines/{machine}" if MACHINE_NAME.fullmatch(machine) else "/"
        return self._page(request, "message.html", status, title=title, text=text, back=back)
