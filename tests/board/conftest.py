"""One plant and one board for all tests of the pages; a test changes only the machine that is its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from board_plant import Plant, mixed_plant
from board_server import board
from chromium import Browser, browser

from serving.board.sources import Sources


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    return mixed_plant(tmp_path_factory.mktemp("plant") / "root")


@pytest.fixture(scope="session")
def sources(plant: Plant) -> Sources:
    return Sources(str(plant.registry), str(plant.log), clips=str(plant.clips))


@pytest.fixture(scope="session")
def url(sources: Sources) -> Iterator[str]:
    """A board that allows changes."""
    with board(sources) as address:
        yield address


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(Path(tmp_path_factory.mktemp("chromium"))) as started:
        yield started
