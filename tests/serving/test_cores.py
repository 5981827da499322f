"""How many workers a server starts."""

from pathlib import Path

import pytest

from serving.torchserve import config
from serving.torchserve.config import cores


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),  # half a core is no core for one more worker
        ("50000 100000\n", 1),
        ("9900000 100000\n", 8),  # a limit above what there is
        ("not a limit\n", 8),
        (None, 8),
    ],
)
def test_a_containers_limit_counts(
    limit: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process in a container sees every core of its machine, but is stopped for a while when it uses more."""
    monkeypatch.setattr("serving.torchserve.config.os.sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(config, "CGROUP_LIMIT", tmp_path / "cpu.max")
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit)
    assert cores() == expected
