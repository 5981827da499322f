"""How many threads PyTorch uses while clips are computed one by one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """One, in this block. A clip's matrices are so small that threads mostly wait for each other: with two threads on
    two cores its log-mel took four times as long, and its score twice as long.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
