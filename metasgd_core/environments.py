"""The two families the gymnasium way: one task at a time, for agents of other libraries.

>>> import gymnasium
>>> import metasgd_core.environments  # registers them
>>> env = gymnasium.make("metasgd_core/CartPole-v0", length=1.0, force=-10.0)
>>> env = gymnasium.make("metasgd_core/Navigation-v0", goal=(0.3, -0.2))

The book trains on `metasgd_core.tasks`, which plays all tasks and episodes at once. The names of
the arguments are the same.
"""

from __future__ import annotations

from math import isfinite, nan
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from numpy.typing import NDArray


def _number(name: str, given: Any, *, positive: bool = False) -> float:
    """Return `given` as a float, or refuse it in one sentence."""
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = nan
    if not isfinite(value) or (positive and value <= 0):
        kind = "finite number above zero" if positive else "finite number"
        raise ValueError(f"{name} must be a {kind}, got {given!r}")
    return value


class CartPoleEnvironment(CartPoleEnv):
    """Gymnasium's CartPole with a pole, a cart, a force, a gravity and a side of your choice.

    The step is gymnasium's own, so with the defaults this is ``CartPole-v1``. Episodes are cut off
    after 500 steps if `gymnasium.make` makes it.

    Parameters
    ----------
    length : float
        Half the pole's length, in m (gymnasium's number).
    masspole, masscart : float
        In kg.
    force : float
        What action 1 pushes with, in N; action 0 pushes the other way. Negative: left and right
        are swapped.
    gravity : float
        In m/s².
    side : {0, 1, -1}
        0: gymnasium's reward, 1 for every step, also the one that falls. +1 or -1: 1 only for a
        step after which the pole still stands and ``side * x > 0``, else 0. The observation does
        not tell which.
    render_mode : {None, "human", "rgb_array"}
        As in gymnasium; drawing needs pygame, which this package does not install.

    Raises
    ------
    ValueError
        If a length or mass is not a finite number above zero, the force or gravity is not finite,
        or the side is none of the three.

    Notes
    -----
    The observation space is gymnasium's too. Under physics far from the book's (a pole of some
    millimetres) the last observation of an episode can lie outside it.

    References
    ----------
    Barto, Sutton, Anderson 1983; Brockman et al. 2016 (arXiv:1606.01540).
    """

    def __init__(
        self,
        *,
        length: float = 0.5,
        masspole: float = 0.1,
        masscart: float = 1.0,
        force: float = 10.0,
        gravity: float = 9.8,
        side: int = 0,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode=render_mode)
        self.length = _number("length", length, positive=True)
        self.masspole = _number("masspole", masspole, positive=True)
        self.masscart = _number("masscart", masscart, positive=True)
        self.force_mag = _number("force", force)
        self.gravity = _number("gravity", gravity)
        if side not in (-1, 0, 1):
            raise ValueError(f"side must be 0 (none), 1 or -1, got {side!r}")
        self.side = int(side)
        # What gymnasium derives from these, it derives only once, from its own.
        self.total_mass = self.masspole + self.masscart
        self.polemass_length = self.masspole * self.length

    def step(
        self, action: int | NDArray[Any]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Play one step of 0.02 s.

        Parameters
        ----------
        action : {0, 1}

        Returns
        -------
        observation : ndarray
            ``(4,)``, float32: position (m), velocity (m/s), angle (rad, 0 is upright), angular
            velocity (rad/s).
        reward : float
        terminated : bool
            Whether the cart has left the track or the pole has fallen.
        truncated : bool
            Always False; the time limit is a wrapper's business.
        info : dict
            Empty.
        """
        observation, reward, terminated, truncated, info = super().step(action)
        if self.side:
            assert self.state is not None  # super().step() has seen to it
            reward = float(not terminated and self.side * self.state[0] > 0)
        return observation, reward, terminated, truncated, info


class NavigationEnvironment(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Walk in the plane to a goal that only the reward knows.

    The observation is the position, the action a velocity, cut to ±0.1 along each axis; a step
    adds it to the position. The episode ends closer than 0.01 to the goal, and is cut off after
    100 steps if `gymnasium.make` makes it.

    Parameters
    ----------
    goal : pair of float
        Coordinates in [-0.5, 0.5].
    start : {"origin", "uniform"}
        Where an episode begins: at 0, or uniform in the square of the goals.
    reward : {"distance", "squared"}
        Minus the distance to the goal after the step, or minus its square.

    Raises
    ------
    ValueError
        If the goal is not two numbers in [-0.5, 0.5], or a name is not listed.

    References
    ----------
    Finn et al. 2017 (arXiv:1703.03400), section 5.3.1; Li et al. 2017 (arXiv:1707.09835),
    section 4.3. The clipping and the radius are those of MAML's published code, which asks for
    less than 0.01 along each axis where we ask it of the distance.
    """

    def __init__(
        self,
        *,
        goal: tuple[float, float] = (0.5, 0.5),
        start: Literal["origin", "uniform"] = "origin",
        reward: Literal["distance", "squared"] = "distance",
    ) -> None:
        try:
            self.goal = np.array(goal, dtype=np.float64)
        except (TypeError, ValueError):
            self.goal = np.array(nan)
        if self.goal.shape != (2,) or not (abs(self.goal) <= 0.5).all():
            raise ValueError(f"goal must be two numbers (x, y) in [-0.5, 0.5], got {goal!r}")
        if start not in ("origin", "uniform"):
            raise ValueError(f"start must be 'origin' or 'uniform', got {start!r}")
        if reward not in ("distance", "squared"):
            raise ValueError(f"reward must be 'distance' or 'squared', got {reward!r}")
        self.start, self.reward = start, reward
        self.position: NDArray[np.float64] | None = None
        self.action_space = Box(-0.1, 0.1, (2,), np.float32)
        # 100 steps of 0.1 from the edge of the square lead no farther than this.
        self.observation_space = Box(-10.5, 10.5, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode; the goal stays. `options` plays no part.

        Returns
        -------
        observation : ndarray
            The position, ``(2,)``, float32.
        info : dict
            Empty.
        """
        super().reset(seed=seed)
        uniform = self.start == "uniform"
        self.position = self.np_random.uniform(-0.5, 0.5, size=2) if uniform else np.zeros(2)
        return self.position.astype(np.float32), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Move once.

        Parameters
        ----------
        action : array_like
            Two velocities; beyond ±0.1 they are cut.

        Returns
        -------
        observation : ndarray
            The new position, ``(2,)``, float32. Inside it is kept in float64.
        reward : float
            Minus the new distance to the goal, or its square.
        terminated : bool
            Whether that distance is below 0.01.
        truncated : bool
            Always False; the time limit is a wrapper's business.
        info : dict
            Empty.

        Raises
        ------
        ValueError
            If the action is not two finite numbers.
        gymnasium.error.ResetNeeded
            If no episode has begun.
        """
        if self.position is None:
            raise ResetNeeded("no episode has begun: call reset() before step()")
        velocity = np.asarray(action, dtype=np.float64)
        if velocity.shape != (2,) or not np.isfinite(velocity).all():
            raise ValueError(f"an action must be two finite velocities, got {action!r}")
        self.position = self.position + velocity.clip(-0.1, 0.1)
        distance = float(np.hypot(*(self.position - self.goal)))
        reward = -distance if self.reward == "distance" else -(distance**2)
        return self.position.astype(np.float32), reward, distance < 0.01, False, {}


for _name, _steps in {"CartPole": 500, "Navigation": 100}.items():
    if f"metasgd_core/{_name}-v0" not in gymnasium.registry:  # a module may be imported again
        gymnasium.register(
            id=f"metasgd_core/{_name}-v0",
            entry_point=f"metasgd_core.environments:{_name}Environment",
            max_episode_steps=_steps,
        )
