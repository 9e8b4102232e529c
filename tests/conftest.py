"""For all tests: one thread for torch. At these sizes there is nothing to share out."""

import torch

torch.set_num_threads(1)
