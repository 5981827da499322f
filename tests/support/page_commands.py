"""The commands of a document and what they must print."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One command of the page, what it prints (``...`` stands for anything) and its exit code."""

    command: str
    prints: str
    code: int


def steps(page: Path) -> list[Step]:
    """``console`` blocks: ``$ command``, then its output; ``[exit 3]`` as the last line where it is not 0."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, prints = part.partition("\n")
            exit_code = re.search(r"^\[exit (\d)\]\n?\Z", prints, re.MULTILINE)
            if exit_code:
                prints = prints[: exit_code.start()]
            found.append(Step(command, prints.strip(), int(exit_code[1]) if exit_code else 0))
    return found


def matches(step: Step, printed: str) -> bool:
    """Whether a command has printed what the page says."""
    pattern = ".*".join(re.escape(part) for part in step.prints.split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
