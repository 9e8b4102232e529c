"""For all tests: the annotations of metasgd_core are checked at run time, and torch takes one core."""

import torch
from jaxtyping import install_import_hook

install_import_hook("metasgd_core", "beartype.beartype")
torch.set_num_threads(1)
