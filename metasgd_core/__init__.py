"""The tested module behind the book: SGD, MAML and Meta-SGD as rows of one table over one `adapt`.

>>> theta' = theta - alpha * grad L_support(theta)           # adapt: the inner loop
>>> minimise E_T[ L_query(theta') ] over theta and alpha     # meta_train: the outer loop
"""

from metasgd_core.adaptation import adapt, per_task
from metasgd_core.alpha import (
    LogUniform,
    Uniform,
    check_alpha,
    init_alpha,
    init_rule,
    share_alpha,
)
from metasgd_core.evaluation import Comparison, Evaluation, compare, evaluate, t_interval
from metasgd_core.meta_training import Record, meta_train, progress
from metasgd_core.methods import (
    FINE_TUNING,
    FOMAML,
    JOINT,
    MAML,
    META_SGD,
    METHODS,
    REPTILE,
    Method,
)
from metasgd_core.models import MLP, GaussianMLP, NeuralProcess, init_theta, predict
from metasgd_core.objectives import meta_loss
from metasgd_core.policy_gradient import PolicyGradient
from metasgd_core.rules import Rule
from metasgd_core.tasks import (
    CartPole,
    CartPoleTasks,
    Navigation,
    NavigationTasks,
    SineTasks,
    Sinusoid,
)
from metasgd_core.types import Data, Params, TaskFamily, Trajectories

__all__ = [
    "FINE_TUNING", "FOMAML", "JOINT", "MAML", "META_SGD", "METHODS", "MLP", "REPTILE", "CartPole",
    "CartPoleTasks", "Comparison", "Data", "Evaluation", "GaussianMLP", "LogUniform", "Method",
    "Navigation", "NavigationTasks", "NeuralProcess", "Params", "PolicyGradient", "Record", "Rule",
    "SineTasks", "Sinusoid", "TaskFamily", "Trajectories", "Uniform", "adapt", "check_alpha",
    "compare", "evaluate", "init_alpha", "init_rule", "init_theta", "meta_loss", "meta_train",
    "per_task", "predict", "progress", "share_alpha", "t_interval",
]
__version__ = "0.1.0"
