"""Find the rank of this process among all processes."""

from __future__ import annotations

import os
from typing import Tuple

import torch.distributed


def rank_and_world_size() -> Tuple[int, int]:
    """Return the rank of this process and the number of processes, from torch.distributed or torchrun.

    >>> rank_and_world_size()
    (0, 1)
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    rank, world_size = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if rank.isdecimal() and world_size.isdecimal() and int(rank) < int(world_size):
        return int(rank), int(world_size)
    return 0, 1
