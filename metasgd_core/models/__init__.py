"""Architectures, their first parameters, and predictions from any parameters.

A module here is architecture only. The numbers live in a ``Params`` dict, and
:func:`predict` runs the module with whichever numbers it is given: theta, or one adapted phi for
every task of a batch.
"""

from metasgd_core.models.attention import LinearAttention, Transformer, step_as_attention
from metasgd_core.models.context import ContextMLP
from metasgd_core.models.convnet import ConvNet, PrototypeNet
from metasgd_core.models.init import init_theta, run_axes
from metasgd_core.models.mlp import ACTIVATIONS, MLP
from metasgd_core.models.policy import GaussianMLP
from metasgd_core.models.prediction import predict
from metasgd_core.models.process import NeuralProcess
from metasgd_core.models.reader import Reader
from metasgd_core.models.sequence import GRU, MemoryNetwork

__all__ = [
    "ACTIVATIONS", "GRU", "MLP", "ContextMLP", "ConvNet", "GaussianMLP", "LinearAttention",
    "MemoryNetwork", "NeuralProcess", "PrototypeNet", "Reader", "Transformer", "init_theta",
    "predict", "run_axes", "step_as_attention",
]
