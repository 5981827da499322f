"""What somebody with the token may change: by the registry's and the alarms' own functions, each on record."""

from collections.abc import Sequence
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

from masd.alarms.recipients import Recipient
from masd.alarms.step import AlarmStep
from masd.errors import MasdError
from masd.registry.audit import acting_as
from serving.board.sources import Sources

MOST_BYTES = 16_384
LONGEST_REASON = 500

DONE = {
    "promote": "The version is in production; servers follow within seconds.",
    "rollback": "The earlier version is in production again; servers follow within seconds.",
    "acknowledge": "The alarm is acknowledged.",
    "false-alarm": "The alarm is over; its clips count as normal from now on.",
}
"""What the page says after a change."""


class Changes:
    """``recipients`` are told when an alarm is acknowledged, besides the events log."""

    def __init__(self, sources: Sources, recipients: Sequence[Recipient] = ()) -> None:
        self._sources, self._recipients = sources, recipients

    def make(self, action: str, machine: str, actor: str, form: dict[str, str]) -> str:
        """Do what a form asks for; returns a key of :data:`DONE`.

        :raises HTTPException: no such action, no reason, or a page that is older than the last change.
        :raises MasdError: it was refused, and nothing has changed.
        """
        reason = " ".join(form.get("reason", "").split())
        if action not in ("promote", "rollback", "acknowledge"):
            raise HTTPException(404, "unknown action; the actions are promote, rollback and acknowledge")
        if not reason or len(reason) > LONGEST_REASON:
            raise HTTPException(409, f"Give a reason of at most {LONGEST_REASON} characters. Nothing was changed.")
        if action == "acknowledge":
            return self._acknowledge(machine, actor, reason, normal=form.get("false_alarm") == "yes")
        models = self._sources.registry
        with acting_as(actor):
            if form.get("seen", "") != (self._in_production(machine) or ""):
                raise HTTPException(
                    409, "Production has changed since you opened the page: check the page and try again."
                )
            if action == "promote":
                models.promote(machine, form.get("version", ""), reason=reason)
            else:
                models.rollback(machine, reason=reason)
        return action

    def _in_production(self, machine: str) -> str | None:
        try:
            return self._sources.registry.channel(machine, "production")
        except MasdError:  # a damaged pointer, which promoting writes anew
            return None

    def _acknowledge(self, machine: str, actor: str, reason: str, *, normal: bool) -> str:
        sources = self._sources
        step = AlarmStep(sources.registry_url, sources.log_url, sources.state_url, recipients=self._recipients)
        step.acknowledge(machine, actor, reason, normal=normal)
        return "false-alarm" if normal else "acknowledge"


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a plain form.

    :raises HTTPException: it is too large.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise HTTPException(413, "the form is too large")
    return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=20))
