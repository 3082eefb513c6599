"""One small network for every op that no case in networks.py needs: without its rule the network has other groups.

The op stands between two layers, of units (``flat``) or of channels over 1 to 3 dimensions; ``x`` is between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from symmetry.networks import Case, Function, Recurrent, chain
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

A = torch.ops.aten

_ONE = """abs acos asin asinh atan atanh ceil celu cosh deg2rad elu erf erfc exp exp2 expm1 floor frac
    hardshrink hardsigmoid hardswish hardtanh leaky_relu log log10 log1p log2 log_sigmoid logit mish nan_to_num
    neg negative positive reciprocal relu6 round rrelu rsqrt selu sign sinh softplus softshrink square tan
    trunc isfinite isinf isnan logical_not alias clone detach lift_fresh_copy zero zeros_like ones_like
    cos sin""".split()
_TWO = """atan2 copysign divide eq floor_divide fmax fmin fmod ge greater greater_equal gt hypot le less less_equal
    logaddexp logical_and logical_or logical_xor lt maximum minimum multiply ne not_equal remainder rsub subtract
    true_divide xlogy""".split()
_OTHER: dict[str, Callable[[Tensor], Tensor]] = {
    "acosh": lambda x: A.acosh(x + 1),
    "bitwise_not": lambda x: A.bitwise_not(x > 0.5),
    "bitwise_and": lambda x: A.bitwise_and(x > 0.3, x > 0.5),
    "bitwise_or": lambda x: A.bitwise_or(x > 0.3, x > 0.5),
    "bitwise_xor": lambda x: A.bitwise_xor(x > 0.3, x > 0.5),
    "__and__": lambda x: A.__and__(x > 0.3, x > 0.5),
    "__or__": lambda x: A.__or__(x > 0.3, x > 0.5),
    "__xor__": lambda x: A.__xor__(x > 0.3, x > 0.5),
    "clamp": lambda x: A.clamp(x, 0.2, 0.8),
    "clamp_max": lambda x: A.clamp_max(x, 0.8),
    "clamp_min": lambda x: A.clamp_min(x, 0.2),
    "clip": lambda x: A.clip(x, 0.2, 0.8),
    "pow": lambda x: A.pow(x, 3),
    "threshold": lambda x: A.threshold(x, 0.5, 0.0),
    "addcdiv": lambda x: A.addcdiv(x, x, x + 1),
    "addcmul": lambda x: A.addcmul(x, x, x),
    "lerp": lambda x: A.lerp(x, x * x, 0.3),
    "masked_fill": lambda x: A.masked_fill(x, x > 0.5, 0.0),
    "where": lambda x: A.where(x > 0.5, x, x * x),
    "log_softmax": lambda x: A.log_softmax(x, -1),
    "_softmax": lambda x: A._softmax(x, -1, False),
    "_log_softmax": lambda x: A._log_softmax(x, -1, False),
    "_safe_softmax": lambda x: A._safe_softmax(x, -1),
    "to": lambda x: A.to(x, torch.float32),
    "_to_copy": lambda x: A._to_copy(x),
    "type_as": lambda x: A.type_as(x, x),
    "full_like": lambda x: A.full_like(x, 2.0),
    "new_ones": lambda x: A.new_ones(x, [5]),
    "new_full": lambda x: A.new_full(x, [5], 2.0),
    "full": lambda x: A.full([5], 2.0),
    "scalar_tensor": lambda x: A.scalar_tensor(2.0) * x,
    "mm": lambda x: A.mm(x.T, x).sum(0),
    "mv": lambda x: A.mv(x, x[0])[:, None] * x,
    "dot": lambda x: A.dot(x[0], x[1]) * x,
    "vdot": lambda x: A.vdot(x[0], x[1]) * x,
    "bmm": lambda x: A.bmm(x[None], x.T[None])[0] @ x,
    "addmm": lambda x: A.addmm(x, x @ x.T, x),
    "baddbmm": lambda x: A.baddbmm(x[None], (x @ x.T)[None], x[None])[0],
    "sum": lambda x: A.sum(x, [-1], True),
    "amax": lambda x: A.amax(x, [-1], True),
    "amin": lambda x: A.amin(x, [-1], True),
    "prod": lambda x: A.prod(x, -1, True),
    "var": lambda x: A.var(x, [-1], keepdim=True),
    "std": lambda x: A.std(x, [-1], keepdim=True),
    "any": lambda x: A.any(x > 0.7, -1, True),
    "all": lambda x: A.all(x > 0.2, -1, True),
    "logsumexp": lambda x: A.logsumexp(x, [-1], True),
    "nansum": lambda x: A.nansum(x, [-1], True),
    "min": lambda x: A.min(x),
    "norm": lambda x: A.norm(x, 2, [-1], True),
    "linalg_vector_norm": lambda x: A.linalg_vector_norm(x, 2, [-1], True),
    "_unsafe_view": lambda x: A._unsafe_view(x, [2, 5]),
    "view_as": lambda x: A.view_as(x, x),
    "reshape_as": lambda x: A.reshape_as(x, x),
    "_reshape_alias": lambda x: A._reshape_alias(x, [2, 5], [5, 1]),
    "view_copy": lambda x: A.view_copy(x, [2, 5]),
    "swapaxes": lambda x: A.swapaxes(A.swapaxes(x, 0, 1), 0, 1),
    "t": lambda x: A.t(A.t(x)),
    "numpy_T": lambda x: A.numpy_T(A.numpy_T(x)),
    "mT": lambda x: A.mT(A.mT(x)),
    "movedim": lambda x: A.movedim(A.movedim(x, 0, 1), 0, 1),
    "expand_as": lambda x: A.expand_as(x[:1], x),
    "broadcast_to": lambda x: A.broadcast_to(x[:1], [2, 5]),
    "roll": lambda x: A.roll(x, [1], [0]),
    "narrow": lambda x: A.narrow(x, 0, 0, 1),
    "split": lambda x: A.split(x, 1)[0],
    "split_with_sizes": lambda x: A.split_with_sizes(x, [1, 1])[0],
    "tensor_split": lambda x: A.tensor_split(x, 2)[0],
    "unbind": lambda x: A.unbind(x)[0],
    "index": lambda x: x[torch.tensor([1, 0])],
    "index_select": lambda x: A.index_select(x, 0, torch.tensor([1, 0])),
    "cumsum": lambda x: A.cumsum(x, 0),
    "cumprod": lambda x: A.cumprod(x, 0),
    "flip": lambda x: A.flip(x, [0]),
    "sort": lambda x: A.sort(x, 0)[0],
    "argsort": lambda x: A.argsort(x, 0),
    "topk": lambda x: A.topk(x, 2, 0)[0],
    "argmax": lambda x: A.argmax(x, 0),
    "argmin": lambda x: A.argmin(x, 0),
    "concat": lambda x: A.concat([x, x])[:2],
    "concatenate": lambda x: A.concatenate([x, x])[:2],
    "stack": lambda x: A.stack([x, x])[0],
    "constant_pad_nd": lambda x: A.constant_pad_nd(x, [0, 0, 1, 0])[:2],
    "repeat": lambda x: A.repeat(x, [2, 1])[:2],
    "tile": lambda x: A.tile(x, [2, 1])[:2],
    "repeat_interleave": lambda x: A.repeat_interleave(x, 2, 0)[:2],
}
_OTHER |= {
    "alpha_dropout": lambda x: A.alpha_dropout(x, 0.1, False),
    "feature_dropout": lambda x: A.feature_dropout(x, 0.1, False),
    "feature_alpha_dropout": lambda x: A.feature_alpha_dropout(x, 0.1, False),
}
_COUNTED: dict[str, Callable[[Tensor], Tensor]] = {
    "arange": lambda x: A.arange(5),
    "linspace": lambda x: A.linspace(0, 1, 5),
    "logspace": lambda x: A.logspace(0, 1, 5),
    "eye": lambda x: A.eye(5)[0],
    "tril_indices": lambda x: A.tril_indices(3, 3)[0, :5],
    "triu_indices": lambda x: A.triu_indices(3, 3)[0, :5],
    "empty": lambda x: A.empty([5]),
    "empty_like": lambda x: A.empty_like(x),
    "new_empty": lambda x: A.new_empty(x, [5]),
    "rand": lambda x: A.rand([5]),
    "randn": lambda x: A.randn([5]),
    "randint": lambda x: A.randint(9, [5]),
    "rand_like": lambda x: A.rand_like(x),
    "randn_like": lambda x: A.randn_like(x),
    "bartlett_window": lambda x: A.bartlett_window(5),
    "hann_window": lambda x: A.hann_window(5),
}
_CHANNELS: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "max_pool1d": (1, lambda x: A.max_pool1d(x, [2])),
    "max_pool2d": (2, lambda x: A.max_pool2d(x, [2, 2])),
    "max_pool3d": (3, lambda x: A.max_pool3d(x, [2, 2, 2])),
    "avg_pool1d": (1, lambda x: A.avg_pool1d(x, [2])),
    "avg_pool2d": (2, lambda x: A.avg_pool2d(x, [2, 2])),
    "avg_pool3d": (3, lambda x: A.avg_pool3d(x, [2, 2, 2])),
    "adaptive_avg_pool1d": (1, lambda x: A.adaptive_avg_pool1d(x, [2])),
    "adaptive_avg_pool2d": (2, lambda x: A.adaptive_avg_pool2d(x, [2, 2])),
    "adaptive_avg_pool3d": (3, lambda x: A.adaptive_avg_pool3d(x, [2, 2, 2])),
    "adaptive_max_pool1d": (1, lambda x: A.adaptive_max_pool1d(x, [2])[0]),
    "adaptive_max_pool2d": (2, lambda x: A.adaptive_max_pool2d(x, [2, 2])[0]),
    "adaptive_max_pool3d": (3, lambda x: A.adaptive_max_pool3d(x, [2, 2, 2])[0]),
    "max_pool2d_with_indices": (2, lambda x: A.max_pool2d_with_indices(x, [2, 2])[0]),
    "max_pool3d_with_indices": (3, lambda x: A.max_pool3d_with_indices(x, [2, 2, 2])[0]),
    "upsample_nearest1d": (1, lambda x: A.upsample_nearest1d(x, [8])),
    "upsample_linear1d": (1, lambda x: A.upsample_linear1d(x, [8], False)),
    "upsample_nearest2d": (2, lambda x: A.upsample_nearest2d(x, [8, 8])),
    "upsample_bilinear2d": (2, lambda x: A.upsample_bilinear2d(x, [8, 8], False)),
    "upsample_bicubic2d": (2, lambda x: A.upsample_bicubic2d(x, [8, 8], False)),
    "_upsample_bilinear2d_aa": (2, lambda x: A._upsample_bilinear2d_aa(x, [2, 2], False)),
    "_upsample_bicubic2d_aa": (2, lambda x: A._upsample_bicubic2d_aa(x, [2, 2], False)),
    "upsample_nearest3d": (3, lambda x: A.upsample_nearest3d(x, [8, 8, 8])),
    "upsample_trilinear3d": (3, lambda x: A.upsample_trilinear3d(x, [8, 8, 8], False)),
}
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def _between(op: Callable[..., Tensor]) -> Callable[[], nn.Module]:
    """Units, times one plus what the op makes of them: they matter even where the op says little."""

    def forward(net: Function, inputs: Tensor) -> Tensor:
        units = net.stem(inputs)
        made = op(units.sigmoid())
        return net.head(units * (1 + made.to(units.dtype)))

    return lambda: Function(forward, stem=nn.Linear(6, 5), head=nn.Linear(5, 2))


def _over_maps(dims: int, op: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    def forward(net: Function, inputs: Tensor) -> Tensor:
        return net.head(op(net.stem(inputs)).flatten(2).mean(-1))

    return lambda: Function(forward, stem=_CONVOLUTIONS[dims](1, 5, 1), head=nn.Linear(5, 2))


def _transposed(dims: int) -> Callable[[], nn.Module]:
    kinds = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}

    def forward(net: Function, inputs: Tensor) -> Tensor:
        return net.head(net.up(net.stem(inputs)).flatten(2).mean(-1))

    layers = lambda: {"stem": _CONVOLUTIONS[dims](1, 5, 1), "up": kinds[dims](5, 4, 2), "head": nn.Linear(4, 2)}  # noqa: E731
    return lambda: Function(forward, **layers())


def _general(net: Function, inputs: Tensor) -> Tensor:
    maps = A.convolution(inputs, net.stem.weight, net.stem.bias, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    return net.head(maps.mean((2, 3)))


def _with_another(op: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: op(x, x * x + 0.1)


_FLAT = {
    **{name: getattr(A, name) for name in _ONE},
    **{name: _with_another(getattr(A, name)) for name in _TWO},
    **_OTHER,
}

OPS: dict[str, Case] = {
    **{name: Case(_between(op), (2, 6), [5]) for name, op in _FLAT.items()},
    **{name: Case(_over_maps(dims, op), (1, 1, *(4,) * dims), [5]) for name, (dims, op) in _CHANNELS.items()},
    **{
        name: Case(_between(op), (2, 6), [], why=f"aten.{name}: numbers differ by position")
        for name, op in _COUNTED.items()
    },
    "_weight_norm": Case(chain(weight_norm(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 2)), (2, 6), [5]),
    "rnn_relu": Case(lambda: Recurrent(nn.RNN, nonlinearity="relu"), (2, 4, 3), [5]),
    "conv_transpose1d": Case(_transposed(1), (1, 1, 4), [5, 4]),
    "conv_transpose3d": Case(_transposed(3), (1, 1, 4, 4, 4), [5, 4]),
    "convolution": Case(lambda: Function(_general, stem=nn.Conv2d(1, 5, 1), head=nn.Linear(5, 2)), (1, 1, 4, 4), [5]),
}
"""Op to a network that needs its rule."""
