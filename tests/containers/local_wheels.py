"""What pip on this machine finds on its disk, for builds in containers.

``local_wheels.py --print-config URL`` prints this machine's pip configuration with its folders below ``URL``;
``local_wheels.py --serve PORT`` serves those folders, and nothing else, on the loopback interface.
"""

import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LISTS = ("find-links", "extra-index-url")
SINGLE = ("index-url", "cert", "default-timeout")


def main() -> None:
    match sys.argv[1:]:
        case ["--print-config", url]:
            print(configuration(pip_values(), url))
        case ["--serve", port]:
            roots = [folder for place in places(pip_values()) if (folder := served(place))]
            ThreadingHTTPServer(("127.0.0.1", int(port)), partial(Handler, roots)).serve_forever()
        case _:
            sys.exit(__doc__)


def pip_values() -> dict[str, str]:
    """The last value of each option, as ``pip config list`` orders them; the environment's last."""
    text = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    found = re.findall(r"^([\w:]+)\.([\w-]+)='(.*)'$", text.stdout, re.MULTILINE)
    return {name: value.replace("\\n", " ") for _, name, value in sorted(found, key=lambda item: item[0] == ":env:")}


def places(values: dict[str, str]) -> list[str]:
    return [place for name in LISTS for place in values.get(name, "").split()]


def served(place: str) -> Path | None:
    """The folder to serve for a find-links folder or a file index; an index links to files beside it."""
    path = local_path(place)
    if path is None:
        return None
    return path.parent if place.startswith("file:") else path


def local_path(place: str) -> Path | None:
    if place.startswith("file:"):
        return Path(unquote(urlsplit(place).path))
    return Path(place) if place.startswith("/") else None


def configuration(values: dict[str, str], url: str) -> str:
    lines = ["[global]"]
    for name in SINGLE:
        if name in values:
            value = "/etc/ssl/certs/ca-certificates.crt" if name == "cert" else values[name]
            lines.append(f"{name} = {value}")
    for name in LISTS:
        if name in values:
            items = [f"{url}{path}/" if (path := local_path(item)) else item for item in values[name].split()]
            lines += [f"{name} =", *(f"    {item}" for item in items)]
    return "\n".join(lines)


class Handler(SimpleHTTPRequestHandler):
    """Files below the given folders, under their full paths."""

    def __init__(self, roots: list[Path], *args: object) -> None:
        self.roots = roots
        super().__init__(*args, directory="/")  # type: ignore[arg-type]

    def send_head(self) -> object:
        path = Path(self.translate_path(self.path)).resolve()
        if not any(path.is_relative_to(root) for root in self.roots):
            return self.send_error(404)
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    main()
