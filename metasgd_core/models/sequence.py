"""Networks that read their support point by point: recurrent, with an external memory.

The order of the points is the order of reading. What was read is a state, of one size however many
points there were.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot, softplus

from metasgd_core.models.mlp import MLP
from metasgd_core.models.reader import Reader, affine, network, shared
from metasgd_core.types import Data, Params


class GRU(Reader):
    r"""A gated recurrent network: its state h is what it knows of the task.

    .. math::
        r, z &= \sigma(W_{rz}\, p_k + U_{rz}\, h), \qquad
        n = \tanh(W_n\, p_k + r \circ U_n h), \\
        h &\leftarrow (1 - z) \circ n + z \circ h, \qquad \hat y(x) = d(x, h)

    for the points :math:`p_k = (x_k, y_k)` in turn, W and U with biases. Learning across tasks is
    slow, in the weights; learning a task is fast, in the state. The first state is learned, too.

    Parameters
    ----------
    inputs, outputs : int
        Of the tasks.
    hidden : int
        How many numbers the state has.
    width : int
        Of the two hidden layers of the decoder d.

    References
    ----------
    Hochreiter, Younger, Conwell 2001 ("Learning to learn using gradient descent"), with an LSTM
    that sees :math:`(x_k, y_{k-1})` and answers at every step; the cell is that of Cho et al. 2014
    (arXiv:1406.1078) in PyTorch's form. Differs from the former in that points come whole and
    queries apart, so that many can be asked of one state.
    """

    def __init__(
        self, inputs: int = 1, outputs: int = 1, hidden: int = 64, width: int = 64
    ) -> None:
        super().__init__()
        self.state = nn.Parameter(torch.zeros(hidden))
        self.point = nn.Linear(inputs + outputs, 3 * hidden)
        self.past = nn.Linear(hidden, 3 * hidden)
        self.decoder = MLP((inputs + hidden, width, width, outputs))

    def cell(self, weights: Params, from_point: Tensor, h: Tensor) -> Tensor:
        """Return the state after a point: ``W p`` and the state before, ``(*batch, 1, ...)``."""
        now = from_point.chunk(3, dim=-1)
        past = affine(weights, "past", h).chunk(3, dim=-1)
        reset, keep = (torch.sigmoid(now[gate] + past[gate]) for gate in (0, 1))
        new = torch.tanh(now[2] + reset * past[2])
        return (1 - keep) * new + keep * h

    def read_each(self, theta: Params, support: Data) -> Params:
        """Return the state of each task after 1, 2, … K points, ``(*batch, K, hidden)``."""
        weights = shared(theta, support.x.ndim - 3)
        h, states = theta["state"].unsqueeze(-2), []
        for from_point in affine(weights, "point", torch.cat(support, dim=-1)).split(1, dim=-2):
            h = self.cell(weights, from_point, h)
            states.append(h)
        return {"state": torch.cat(states, dim=-2)}

    def run(self, phi: Params, x: Tensor) -> Tensor:
        """Map ``(*batch, points, inputs)`` to ``(*batch, points, outputs)``, each by its state."""
        state = phi["state"].unsqueeze(-2).expand(*x.shape[:-1], -1)
        known = torch.cat([x, state], dim=-1)
        return network(shared(phi, x.ndim - 3), "decoder", known)


class MemoryNetwork(GRU):
    r"""A recurrent network with an external memory, written and read by content.

    To the state it adds a matrix M with a row a slot, and a key that the state makes of each point.
    Reading compares the key with all rows, and is a mean of them:

    .. math:: w = \operatorname{softmax}_i\big(\beta \cos(\text{key}, M_i)\big), \qquad
              \text{read} = \textstyle\sum_i w_i M_i

    Writing adds the key to the row *least used*, which is emptied first, or to where it was read
    last; a learned gate g weighs the two:

    .. math:: M_i \leftarrow M_i + \big(g\, w^{\text{last}}_i + (1 - g)\, w^{\text{least}}_i\big)\,
              \text{key}

    A slot's use fades by `FADE` a point, and grows by how far it was read and written. So a point
    may be kept as it came, and what is kept is not worn off by every point after it, as in a state
    that all points share.

    Parameters
    ----------
    inputs, outputs, hidden, width : int
        As in :class:`GRU`.
    slots, row : int
        Rows of the memory, and numbers in each.

    References
    ----------
    Santoro et al. 2016 (arXiv:1605.06065), section 3. Differs from it in that the controller is a
    GRU, points come whole and queries apart, the sharpness :math:`\beta` is learned (as in Graves
    et al. 2014, arXiv:1410.5401), and the tasks are sinusoids, not glyphs.
    """

    FADE = 0.95

    def __init__(
        self, inputs: int = 1, outputs: int = 1, hidden: int = 32, width: int = 64,
        slots: int = 16, row: int = 32,
    ) -> None:
        super().__init__(inputs, outputs, hidden, width)
        self.memory = nn.Parameter(torch.zeros(slots, row))
        self.used = nn.Parameter(torch.zeros(slots))
        self.last = nn.Parameter(torch.zeros(slots))
        self.write = nn.Linear(hidden, row + 2)  # a key, its sharpness, the gate
        self.ask = nn.Linear(inputs + hidden, row + 1)
        self.decoder = MLP((inputs + hidden + row, width, width, outputs))

    def read_each(self, theta: Params, support: Data) -> Params:
        """Return state, memory, use and last address after 1, 2, … K points."""
        weights = shared(theta, support.x.ndim - 3)
        h, memory = theta["state"].unsqueeze(-2), theta["memory"]
        used, last = theta["used"].detach().unsqueeze(-2), theta["last"].unsqueeze(-2)
        after: dict[str, list[Tensor]] = {"state": [], "memory": [], "used": [], "last": []}
        for from_point in affine(weights, "point", torch.cat(support, dim=-1)).split(1, dim=-2):
            h = self.cell(weights, from_point, h)
            key, gate = affine(weights, "write", h).tensor_split([-1], dim=-1)
            gate = torch.sigmoid(gate)
            address = addressed(key, memory)
            least = one_hot(used.argmin(-1), used.shape[-1]).to(h.dtype)
            written = gate * last + (1 - gate) * least  # (*batch, 1, slots)
            memory = memory * (1 - least.mT) + written.mT * torch.tanh(key[..., :-1])
            used, last = self.FADE * used + (address + written).detach(), address
            for name, leaf in zip(after, (h, memory.unsqueeze(-3), used, last)):
                after[name].append(leaf)
        axis = support.x.ndim - 2
        return {name: torch.cat(leaves, dim=axis) for name, leaves in after.items()}

    def run(self, phi: Params, x: Tensor) -> Tensor:
        """Ask the memory for each x, with a key made of it and of the state, and predict."""
        weights = shared(phi, x.ndim - 3)
        state = phi["state"].unsqueeze(-2).expand(*x.shape[:-1], -1)
        known = torch.cat([x, state], dim=-1)
        found = addressed(affine(weights, "ask", known), phi["memory"]) @ phi["memory"]
        return network(weights, "decoder", torch.cat([known, found], dim=-1))


def addressed(key: Tensor, memory: Tensor) -> Tensor:
    """Return how far each key reads each slot, ``(*batch, keys, slots)``; rows add up to 1.

    Parameters
    ----------
    key : Tensor
        ``(*batch, keys, row + 1)``, through tanh a row like those of the memory, and the sharpness.
    memory : Tensor
        ``(*batch, slots, row)``.
    """
    row, sharpness = torch.tanh(key[..., :-1]), 1 + softplus(key[..., -1:])
    alike = normalize(row, dim=-1, eps=1e-6) @ normalize(memory, dim=-1, eps=1e-6).mT
    return torch.softmax(sharpness * alike, dim=-1)
