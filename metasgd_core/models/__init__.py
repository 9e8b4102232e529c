"""Architectures, their first parameters, and predictions from any parameters.

A module here is architecture only. The numbers live in a ``Params`` dict, and
:func:`predict` runs the module with whichever numbers it is given: theta, or one adapted phi for
every task of a batch.
"""

from metasgd_core.models.context import ContextMLP
from metasgd_core.models.convnet import ConvNet, PrototypeNet
from metasgd_core.models.init import init_theta, run_axes
from metasgd_core.models.mlp import ACTIVATIONS, MLP
from metasgd_core.models.policy import GaussianMLP
from metasgd_core.models.prediction import predict
from metasgd_core.models.process import NeuralProcess

__all__ = [
    "ACTIVATIONS", "MLP", "ContextMLP", "ConvNet", "GaussianMLP", "NeuralProcess", "PrototypeNet",
    "init_theta", "predict", "run_axes",
]
