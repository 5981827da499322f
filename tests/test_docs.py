"""The documents speak of code that exists."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`(masd/[\w/]+\.py)`: `([\w.]+)`")


def _named_in_method() -> list[tuple[str, str]]:
    return sorted(set(NAMED.findall((ROOT / "docs" / "method.md").read_text(encoding="utf-8"))))


@pytest.mark.parametrize(("path", "name"), _named_in_method())
def test_every_name_in_the_method_page_exists(path: str, name: str) -> None:
    found: object = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    for part in name.split("."):
        found = getattr(found, part)


def test_the_method_page_has_every_equation_and_section_of_the_paper() -> None:
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    assert len(_named_in_method()) > 20
    sections = re.findall(r"^## Section (\d\.\d) - \w", text, re.MULTILINE)
    assert sections == ["2.1", "2.2", "2.3", "2.4", "3.1", "3.2"]
    assert sorted(set(re.findall(r"eq\. \((\d+)\)", text))) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name
)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_file_that_contributing_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:masd|serving|components|pipelines|tests|docs)/[\w/.]+\w)`", text))
    assert len(named) > 15
    assert not [path for path in named if not (ROOT / path).exists()]
