"""For all tests: one thread for torch, and shapes as their contracts say."""

import pytest
import shapes
import torch

torch.set_num_threads(1)  # at these sizes there is nothing to share out


@pytest.fixture(autouse=True)
def _contracts():
    with shapes.enforced():
        yield
