"""A capture of a few seconds' worth of batches, in a process of its own that may be killed."""

import numpy as np
import torch

import featscope
from featscope.records import Geometry, Sample

BATCHES = 40


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, 2, 1)
    ).eval()  # fmt: skip


def capture_all(folder, resume=False, policy=None, rank=None, world_size=None):
    torch.set_num_threads(1)
    network = model()
    options = {"resume": resume, "policy": policy, "dataset_size": BATCHES, "rank": rank, "world_size": world_size}
    with torch.no_grad(), featscope.capture(network, to=folder, **options) as session:
        step = world_size or 1
        for number in range(rank or 0, BATCHES, step):
            images = torch.randn(1, 3, 48, 40, generator=torch.Generator().manual_seed(number))
            name = f"image_{number:03d}"
            session.start_batch(number, [name])
            network(images)
            sample = Sample(name, f"/images/{name}.png", geometry=Geometry((48, 40), (48, 40), (48, 40)))
            session.describe([sample], [np.full((48, 40, 3), number, np.uint8)])
