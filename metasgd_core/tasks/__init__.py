"""Families of tasks, one file a family."""

from metasgd_core.tasks.arms import Arms, ArmsTasks
from metasgd_core.tasks.base import Classification, Regression
from metasgd_core.tasks.cartpole import CartPole, CartPoleTasks
from metasgd_core.tasks.games import ExactGames, Games, GameTasks
from metasgd_core.tasks.images import Images, ImageTasks
from metasgd_core.tasks.navigation import Navigation, NavigationTasks
from metasgd_core.tasks.patients import Patients, PatientTasks
from metasgd_core.tasks.sinusoid import SineTasks, Sinusoid

__all__ = [
    "Arms", "ArmsTasks", "CartPole", "CartPoleTasks", "Classification", "ExactGames", "GameTasks",
    "Games", "ImageTasks", "Images", "Navigation", "NavigationTasks", "PatientTasks", "Patients",
    "Regression", "SineTasks", "Sinusoid",
]
