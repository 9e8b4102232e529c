r"""Attention over the support: over the set, in order, and linear, which is a gradient step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from metasgd_core.models.mlp import ACTIVATIONS, MLP
from metasgd_core.models.reader import Reader, affine, network, shared
from metasgd_core.types import Data, Params


class Transformer(Reader):
    r"""Attention over the support points; a query looks at them, and is not looked at.

    .. math:: \operatorname{attend}(Q, K, V) = \operatorname{softmax}(Q K^\top / \sqrt d)\, V

    A point :math:`(x_k, y_k)` is one token, and so is a query, without its y. In every block the
    points attend to each other and then pass a small network, both added to what they were. What is
    read are the keys and values of the points in each block; it grows with the points.

    Parameters
    ----------
    causal : bool
        False: every point sees all points, and their order does not matter: attention over the
        set. True: a point sees itself and those before it, as in a language model, so that what
        was read of it does not change with the points that follow. There are no position codes:
        the mask alone tells the order.
    inputs, outputs : int
        Of the tasks.
    width, blocks, heads : int
        Numbers of a token, blocks, and parts into which the attention of a block is split.
    hidden : int
        Of the small network of a block.

    References
    ----------
    Vaswani et al. 2017 (arXiv:1706.03762), with the norm before each part. Over the set: Kim et
    al. 2019 (arXiv:1901.05761). Causal: Garg et al. 2022 (arXiv:2208.01066), whose tokens are x and
    y in turn, with learned positions; theirs has 22 million numbers.
    """

    def __init__(
        self, causal: bool, inputs: int = 1, outputs: int = 1, width: int = 32, blocks: int = 2,
        heads: int = 4, hidden: int = 64,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
        self.causal, self.heads, self.outputs = causal, heads, outputs
        self.memory = nn.Parameter(torch.zeros(1, blocks * 2 * width))
        self.embed = nn.Linear(inputs + outputs + 1, width)
        self.attention = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(blocks))
        self.mix = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.small = nn.ModuleList(MLP((width, hidden, width)) for _ in range(blocks))
        self.head = nn.Linear(width, outputs)

    def extra_repr(self) -> str:
        """Name what the layers do not show (and what a checkpoint compares)."""
        return f"causal={self.causal}, heads={self.heads}"

    def read(self, theta: Params, support: Data) -> Params:
        """Return the points' keys and values, ``(*batch, shots, blocks * 2 * width)``."""
        weights, points = shared(theta, support.x.ndim - 3), torch.cat(support, dim=-1)
        shots, found = points.shape[-2], []
        unseen = torch.ones(shots, shots, dtype=torch.bool, device=points.device).triu(1)
        h = affine(weights, "embed", torch.cat([points, torch.ones_like(points[..., :1])], dim=-1))
        for block in range(len(self.mix)):
            query, key, value = self._asked(weights, block, h)
            found += [key, value]
            h = self._block(weights, block, h, query, key, value, unseen if self.causal else None)
        return {"memory": torch.cat(found, dim=-1)}

    def run(self, phi: Params, x: Tensor) -> Tensor:
        """Map ``(*batch, points, inputs)`` to ``(*batch, points, outputs)``: each x is a query."""
        weights, memory = shared(phi, x.ndim - 3), phi["memory"].chunk(2 * len(self.mix), dim=-1)
        blank = x.new_zeros(*x.shape[:-1], self.outputs + 1)
        h = affine(weights, "embed", torch.cat([x, blank], dim=-1))
        for block in range(len(self.mix)):
            query, _, _ = self._asked(weights, block, h)
            h = self._block(weights, block, h, query, *memory[2 * block : 2 * block + 2])
        return affine(weights, "head", h)

    def _asked(self, weights: Params, block: int, h: Tensor) -> tuple[Tensor, ...]:
        """Return queries, keys and values of the tokens in a block."""
        return affine(weights, f"attention.{block}", norm(h)).chunk(3, dim=-1)

    def _block(
        self, weights: Params, block: int, h: Tensor, query: Tensor, key: Tensor, value: Tensor,
        unseen: Tensor | None = None,
    ) -> Tensor:
        """Return the tokens after a block: attention and the small network, added."""
        h = h + affine(weights, f"mix.{block}", attend(query, key, value, self.heads, unseen))
        return h + network(weights, f"small.{block}", norm(h))


def norm(h: Tensor) -> Tensor:
    """Give every token mean 0 and variance 1."""
    return layer_norm(h, h.shape[-1:])


def attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, unseen: Tensor | None = None
) -> Tensor:
    """Return for each query the mean of the values, weighted by how well their keys fit.

    Parameters
    ----------
    query : Tensor
        ``(*batch, queries, width)``.
    key, value : Tensor
        ``(*batch, tokens, width)``.
    heads : int
        The width is split into so many parts, each with weights of its own.
    unseen : Tensor, optional
        ``(queries, tokens)``, True where a query must not look.
    """
    query, key, value = (t.unflatten(-1, (heads, -1)).movedim(-2, -3) for t in (query, key, value))
    fits = query @ key.mT / query.shape[-1] ** 0.5  # (*batch, heads, queries, tokens)
    if unseen is not None:
        fits = fits.masked_fill(unseen, -torch.inf)
    return (torch.softmax(fits, dim=-1) @ value).movedim(-3, -2).flatten(-2)


class LinearAttention(MLP):
    r"""An MLP whose prediction is corrected by one linear self-attention layer.

    With the features z(x) before the last layer and the last layer's prediction f(x), a support
    point is the token :math:`t_k = (z(x_k), 1, y_k)`, and a query is :math:`t = (z(x), 1, f(x))`:

    .. math:: \hat y(x) = f(x) + \underbrace{\Big(\frac1K \sum_k W_V t_k \, (W_K t_k)^\top
              \Big)}_{\text{read}} \, W_Q t

    *Linear*, because no softmax stands between keys and queries: the sum over the support does not
    depend on the query, and is a matrix that can be read once. It is added to the network as a step
    on the last layer would be, and :func:`step_as_attention` gives the weights with which it *is*
    that step.

    Parameters
    ----------
    sizes, activation
        As in :class:`~metasgd_core.models.mlp.MLP`; two sizes make a linear model.

    References
    ----------
    von Oswald et al. 2023 (arXiv:2212.07677), proposition 1, and section 3 for the sines. Differs
    from it in that a token holds a 1 for the bias, in that the matrix P after the attention is part
    of :math:`W_V`, of which only the rows of y are read, and in that the network sees x alone.
    """

    def __init__(self, sizes: Sequence[int] = (1, 40, 40, 1), activation: str = "relu") -> None:
        super().__init__(sizes, activation)  # type: ignore[arg-type]
        *_, features, outputs = sizes
        self.sum = nn.Parameter(torch.zeros(outputs, features + 1))
        self.query, self.key = (
            nn.Linear(features + 1 + outputs, features + 1, bias=False) for _ in range(2)
        )
        self.value = nn.Linear(features + 1 + outputs, outputs, bias=False)

    def first_parameter(self, name: str, generator: torch.Generator) -> Tensor:
        """Return the sum over no points, zeros."""
        return self.sum.detach()

    def features(self, weights: Params, x: Tensor) -> Tensor:
        """Return z and the 1 of the bias, ``(*batch, points, features + 1)``."""
        h = x
        for depth in range(len(self.layers) - 1):
            h = ACTIVATIONS[self.activation](affine(weights, f"layers.{depth}", h))
        return torch.cat([h, torch.ones_like(h[..., :1])], dim=-1)

    def read(self, theta: Params, support: Data) -> Params:
        """Return the sum over the points of each task, ``(*batch, outputs, features + 1)``."""
        weights = shared(theta, support.x.ndim - 3)
        tokens = torch.cat([self.features(weights, support.x), support.y], dim=-1)
        keys, values = (affine(weights, name, tokens) for name in ("key", "value"))
        return {"sum": values.mT @ keys / tokens.shape[-2]}

    def run(self, phi: Params, x: Tensor) -> Tensor:
        """Map ``(*batch, points, inputs)`` to ``(*batch, points, outputs)``."""
        weights = shared(phi, x.ndim - 3)
        z = self.features(weights, x)
        first = affine(weights, f"layers.{len(self.layers) - 1}", z[..., :-1])
        queries = affine(weights, "query", torch.cat([z, first], dim=-1))
        return first + queries @ phi["sum"].mT

    def forward(self, x: Tensor) -> Tensor:
        """Predict ``(points, outputs)`` with the module's own parameters."""
        return self.run({n: p.unsqueeze(0) for n, p in self.named_parameters()}, x.unsqueeze(0))[0]


def step_as_attention(theta: Params, alpha: Params | Tensor | float) -> Params:
    r"""Write down the attention that is one gradient step on an MLP's last layer.

    On the mean squared error of K points the step of the last layer's weights and bias, one row an
    output, is :math:`\tfrac{2}{K} \sum_k (y_k - f(x_k))\, (z(x_k), 1)^\top`, times alpha. So

    .. math:: W_K t = (z, 1), \qquad W_V t = \tfrac2m\, (y - f(x)), \qquad W_Q t = A\, (z, 1)

    with m outputs, and A for alpha: one number, a rate an entry on the diagonal, or a matrix.

    Parameters
    ----------
    theta : Params
        Of an :class:`~metasgd_core.models.mlp.MLP`, leaves ``(*runs, *shape)``.
    alpha : float, Params or Tensor
        One rate; or rates as ``adapt`` takes them, of which the last layer's count, for one output
        (where there are more, each would need an A of its own); or A itself,
        ``(*runs, features + 1, features + 1)``, which the gradient's row is multiplied by from the
        right.

    Returns
    -------
    Params
        Of a :class:`LinearAttention` of the same sizes: theta, and the attention beside it. It
        predicts what the MLP predicts after the step.

    Raises
    ------
    ValueError
        If there are rates an entry, and more than one output.
    """
    last = f"layers.{max(int(name.split('.')[1]) for name in theta)}"
    weight, bias = theta[f"{last}.weight"], theta[f"{last}.bias"].unsqueeze(-1)
    runs, (outputs, features) = weight.shape[:-2], weight.shape[-2:]
    one = torch.eye(features + 1, dtype=weight.dtype, device=weight.device)
    if isinstance(alpha, dict):
        if outputs > 1:
            raise ValueError(
                f"rates an entry are an attention of their own for each of the {outputs} outputs: "
                "give one number or one matrix for all"
            )
        rates = torch.cat([alpha[f"{last}.weight"], alpha[f"{last}.bias"].unsqueeze(-1)], dim=-1)
        alpha = one * rates
    elif not isinstance(alpha, Tensor):
        alpha = alpha * one
    no_y = weight.new_zeros(*runs, features + 1, outputs)
    return theta | {
        "sum": weight.new_zeros(*runs, outputs, features + 1),
        "query.weight": torch.cat([alpha.expand(*runs, *one.shape), no_y], dim=-1),
        "key.weight": torch.cat([one.expand(*runs, *one.shape), no_y], dim=-1),
        "value.weight": (2 / outputs) * torch.cat(
            [-weight, -bias, torch.eye(outputs).to(weight).expand(*runs, outputs, outputs)], dim=-1
        ),
    }  # fmt: skip
