"""For `--launcher pytorch` on a machine without a GPU, where MMEngine chooses one all the same."""

import torch

torch.cuda.set_device = lambda _rank: None
