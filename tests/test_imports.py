"""No import goes in a circle, whether between two modules, between packages, or between a package and its own parts."""

from collections.abc import Iterable
from pathlib import Path

import grimp
import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

ROOTS = ("masd", "serving", "components", "pipelines")
REPOSITORY = Path(__file__).parents[1]


def circles(imports: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The groups of modules each of which leads to every other one of its group."""
    pairs = sorted(set(imports))
    names = sorted({name for pair in pairs for name in pair})
    rows, columns = (np.array([names.index(pair[side]) for pair in pairs], np.int64) for side in (0, 1))
    graph = csr_array((np.ones(len(pairs)), (rows, columns)), shape=(len(names), len(names)))
    _, labels = connected_components(graph, connection="strong")
    groups = [[name for name, of in zip(names, labels, strict=True) if of == label] for label in np.unique(labels)]
    return [group for group in groups if len(group) > 1]


@pytest.fixture(scope="module")
def imports() -> set[tuple[str, str]]:
    """Who imports whom, imports within functions and for type checking too."""
    graph = grimp.build_graph(*ROOTS, exclude_type_checking_imports=False)
    return {(module, other) for module in graph.modules for other in graph.find_modules_directly_imported_by(module)}


def test_a_circle_is_found() -> None:
    assert circles([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]) == [["b", "c"]]
    assert circles([("a", "b"), ("a", "c"), ("b", "c")]) == []


def test_modules(imports: set[tuple[str, str]]) -> None:
    assert len(imports) > 500
    assert circles(imports) == []


def test_packages(imports: set[tuple[str, str]]) -> None:
    """What lies in one folder: ``masd.data.check`` and ``masd.data.store``, for instance."""
    siblings = set()
    for module, other in imports:
        own, others = module.split("."), other.split(".")
        same = next((n for n, (a, b) in enumerate(zip(own, others, strict=False)) if a != b), None)
        if same:  # not the four roots: masd.cli is above all others, as the layers of import-linter say
            siblings.add((".".join(own[: same + 1]), ".".join(others[: same + 1])))
    assert circles(siblings) == []


def test_no_folder_has_more_than_fourteen_entries() -> None:
    for root in ("bench", "docs", *ROOTS):
        for folder in [REPOSITORY / root, *(REPOSITORY / root).rglob("*/")]:
            if folder.name == "__pycache__":
                continue
            entries = [path.name for path in folder.iterdir() if not path.name.startswith((".", "__"))]
            most = 18 if folder == REPOSITORY / "masd" else 14  # masd itself: docs/architecture.md names its packages
            assert len(entries) <= most, f"{folder}: {len(entries)} entries"
    assert len(list((REPOSITORY / "masd" / "lifecycle").glob("[!_]*.py"))) <= 6
