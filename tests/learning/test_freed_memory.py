"""The memory of one training step serves the next."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
if sys.argv[1] == "keep":
    from masd.learning.freed_memory import keep_freed_memory
    keep_freed_memory()
def step():
    torch.ones(10_000_000)  # 40 MB: above every limit that the C library adapts by itself
for _ in range(25):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what: str) -> int:
    """Pages that the system has to provide for five steps, after the first ones."""
    command = [sys.executable, "-c", FAULTS, what]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is told to keep the memory")
def test_the_system_provides_the_memory_of_a_step_only_once() -> None:
    usual = faults("usual")
    assert usual > 1_000  # the effect exists: otherwise there is nothing to test
    assert faults("keep") < 0.05 * usual
