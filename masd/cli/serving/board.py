"""``masd board``."""

import argparse

from masd.cli.alarms.options import add_recipients
from masd.cli.common import needs
from masd.cli.numbers import port


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    board = commands.add_parser("board", help="serve a web page that shows machines, alarms, scores and versions")
    board.add_argument("--registry", required=True, metavar="URL", help="a folder or s3://bucket/prefix")
    board.add_argument(
        "--log", required=True, metavar="LOG", help="inference log: a file, a folder or s3://bucket/prefix"
    )
    board.add_argument("--state", metavar="URL", help="where masd alarms keeps states and events (default LOG-alarms)")
    board.add_argument(
        "--clips", metavar="URL", help="where recordings or pictures are kept as MACHINE/REQUEST_ID.wav, .png, ..."
    )
    board.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; any but loopback needs the token for every page"
    )
    board.add_argument("--port", type=port, default=8090, help="port to listen on (default 8090)")
    board.add_argument(
        "--allow-changes",
        action="store_true",
        help="let users who sign in with the token approve, promote, roll back and acknowledge; the token is in "
        "MASD_BOARD_TOKEN, or in the file that MASD_BOARD_TOKEN_FILE names",
    )
    add_recipients(board)
    board.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with needs("serving"):
        from masd.alarms.recipients import recipients
        from serving.board.server import serve_board
        from serving.board.sources import Sources

    serve_board(
        Sources(options.registry, options.log, options.state, options.clips),
        host=options.host,
        port=options.port,
        allow_changes=options.allow_changes,
        recipients=recipients(options.webhook, options.alertmanager),
    )
    return 0
