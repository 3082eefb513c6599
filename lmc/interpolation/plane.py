"""Planes in parameter space: through three modes, or around one. A plane knows nothing of networks or data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._errors import GridError, MismatchError, UsageError
from lmc._types import StateDict
from lmc.interpolation.paths import LinearPath

_FLAT = 1e-6
"""Height of a triangle over its base, below which three modes lie on a line as far as float32 can tell."""


@dataclass(frozen=True, eq=False)
class Plane:
    r"""The affine plane of three anchors; a position is the weighted sum of them.

    .. math:: \theta(u, v) = w_1 \theta_1 + w_2 \theta_2 + w_3 \theta_3, \qquad w_1 + w_2 + w_3 = 1

    Every floating tensor moves so, buffers included, in float32 at least; running variances are kept from falling
    below the least of the anchors', which the sum does not do outside their triangle. Integers come from the anchor
    that weighs most. Made by :meth:`through` and :meth:`around`.

    Parameters
    ----------
    anchors : three state dicts
        Points that are not on one line; never written to.
    corners : float64 array, shape (3 or more, 2)
        Their coordinates (u, v): the first is (0, 0), the second (u, 0), the third (u, v), exactly; then those of
        further modes, see :meth:`marked`.
    names : sequence of str
        Of the anchors that are modes, first to last, and of further modes; those of a random plane are one mode and two
        mere points.
    parameters : frozenset of str
        Names that distances are measured over.
    description : str
        What the plane is, in one line: it ends in the results.

    Raises
    ------
    MismatchError
        If the anchors differ in names or shapes.
    """

    anchors: Sequence[StateDict]
    corners: NDArray[np.float64]
    names: Sequence[str]
    parameters: frozenset[str]
    description: str
    _first: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchors", tuple(self.anchors))
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "_first", _first_names(self.anchors))

    @classmethod
    def through(
        cls,
        a: StateDict,
        b: StateDict,
        c: StateDict,
        *,
        names: Sequence[str] = ("A", "B", "C"),
        parameters: Collection[str] | None = None,
    ) -> Plane:
        """Return the plane through three modes, with orthonormal coordinates (Gram-Schmidt): B is at v = 0, C above.

        Parameters
        ----------
        a, b, c : state dict
            The modes; A is the origin, and u runs from A to B.
        names : three of str
            What they are called.
        parameters : collection of str, optional
            Names that distances are measured over; by default every floating tensor but running statistics.

        Returns
        -------
        Plane
            The distance between two positions is the Euclidean distance of the parameters.

        Raises
        ------
        MismatchError
            If the modes differ in names or shapes, or lie on one line.

        References
        ----------
        .. [1] Garipov et al. Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs. NeurIPS 2018, section A.1.
        """
        first = _first_names((a, b, c))
        chosen = _parameters(a, parameters)
        gram = _gram((a, b, c), _counted(chosen, first))
        base = np.sqrt(gram[0, 0])
        along = gram[0, 1] / base if base else 0.0
        above = np.sqrt(max(0.0, gram[1, 1] - along**2))
        if not min(base, above) > _FLAT * np.sqrt(gram.max()):
            equal = _equal_modes(gram, names)
            why = f"{equal} are the same weights" if equal else f"{names[2]} lies on the line of {names[0]}, {names[1]}"
            raise MismatchError(f"No plane goes through {', '.join(names)}: {why}. Pass three modes that span one.")
        corners = np.array([[0.0, 0.0], [base, 0.0], [along, above]])
        about = f"affine plane through {', '.join(names)}, orthonormal coordinates over the parameters; buffers alike"
        return cls((a, b, c), corners, names, frozenset(chosen), about)

    @classmethod
    def around(
        cls, mode: StateDict, *, seed: int = 0, name: str = "A", parameters: Collection[str] | None = None
    ) -> Plane:
        """Return a plane around one mode, along two random directions as long as the mode, filter by filter.

        Each direction is Gaussian; what belongs to one output unit (the slice at an index of the first dimension) is
        scaled to the norm of the mode's. Vectors and scalars (biases, normalisation layers) and buffers stay.

        Parameters
        ----------
        mode : state dict
            The centre, at (0, 0).
        seed : int
            Of both directions.
        name : str
            What the mode is called.
        parameters : collection of str, optional
            Names that may move; by default every floating tensor but running statistics.

        Returns
        -------
        Plane
            One unit of u or of v is the norm of the filters. Two such directions are nearly orthogonal.

        Raises
        ------
        MismatchError
            If nothing can move: no matrix or kernel, or all zero.

        References
        ----------
        .. [1] Li et al. Visualizing the Loss Landscape of Neural Nets. NeurIPS 2018, section 4.
        """
        chosen = _parameters(mode, parameters)
        moving = [key for key in chosen if mode[key].dim() > 1 and bool(mode[key].any())]
        if not moving:
            raise MismatchError(f"No direction leads away from {name}: it has no matrix or kernel that is not zero.")
        draw = torch.Generator().manual_seed(seed)
        points = [_displaced(mode, moving, draw) for _ in range(2)]
        corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        about = f"two random directions around {name}, filter-normalised, seed {seed}; vectors and buffers stay"
        return cls((mode, *points), corners, (name,), frozenset(chosen), about)

    def marked(self, name: str, state: StateDict) -> Plane:
        """Return the plane with one more mode: the point of it that is nearest to a state.

        Parameters
        ----------
        name : str
            What the mode is called.
        state : state dict
            A network in the plane, or near it: :meth:`project` tells how far.

        Raises
        ------
        UsageError
            If the name is taken, or the plane is around one mode.
        MismatchError
            If the state differs from the anchors in names or shapes.
        """
        if name in self.names or len(self.names) < 3:
            raise UsageError(
                f"No further mode {name!r}: the plane has {', '.join(self.names)}, and needs three others."
            )
        u, v, _ = self.project(state)
        about = f"{self.description}; {name} at its nearest point"
        corners = np.vstack([self.corners, [u, v]])
        return Plane(self.anchors, corners, (*self.names, name), self.parameters, about)

    @property
    def coordinates(self) -> NDArray[np.float64]:
        """Coordinates (u, v) of the modes, shape (mode, 2)."""
        return self.corners[: len(self.names)]

    @property
    def axis_labels(self) -> tuple[str, str]:
        """What u and v are, for the labels of axes."""
        if len(self.names) == 1:
            return "random direction (filter norms)", "another random direction (filter norms)"
        first, second = self.names[:2]
        return f"distance from {first} towards {second}", f"distance from the line {first}-{second}"

    def weights(self, u: float, v: float) -> NDArray[np.float64]:
        """Return the barycentric coordinates of a position, shape (3,), summing to 1; a corner has exactly 1."""
        third = v / self.corners[2, 1]
        second = (u - third * self.corners[2, 0]) / self.corners[1, 0]
        return np.array([1.0 - second - third, second, third])

    def at(self, u: float, v: float) -> dict[str, Tensor]:
        """Return the state dict at a position, new tensors each time; at the coordinates of a mode, the mode exactly.

        Raises
        ------
        GridError
            If a coordinate is not finite.
        """
        if not np.isfinite([u, v]).all():
            raise GridError(f"A position on a plane is two finite numbers, not ({u!r}, {v!r}).")
        weights = self.weights(float(u), float(v))
        state: dict[str, Tensor] = {}
        for name, first in self._first.items():
            values = [anchor[name] for anchor in self.anchors]
            state[name] = state[first] if first != name else _mixed(name, values, weights)
        return state

    def project(self, state: StateDict) -> tuple[float, float, float]:
        """Return coordinates (u, v) of the point of the plane that is nearest to a state, and its distance from it.

        Raises
        ------
        MismatchError
            If the state differs from the anchors in names or shapes.
        """
        _first_names((self.anchors[0], state))
        gram = _gram((*self.anchors, state), _counted(self.parameters, self._first))
        shares = np.linalg.solve(gram[:2, :2], gram[:2, 2])
        u, v = shares @ self.corners[1:]
        rest = gram[2, 2] - 2 * shares @ gram[:2, 2] + shares @ gram[:2, :2] @ shares
        return float(u), float(v), float(np.sqrt(max(0.0, rest)))


def _first_names(anchors: Sequence[StateDict]) -> dict[str, str]:
    """Check that all are points of one space; map every name to the first one that it is tied to in all of them."""
    try:
        pairs = [LinearPath(anchors[0], other)._first for other in anchors[1:]]
    except MismatchError as error:
        message = str(error).replace("\nA barrier needs", "\nA plane needs").replace("A and B are", "The modes are")
        raise MismatchError(message) from error
    return {name: name if any(pair[name] != pairs[0][name] for pair in pairs) else pairs[0][name] for name in pairs[0]}


def _parameters(state: StateDict, names: Collection[str] | None) -> list[str]:
    if names is None:
        return [n for n, x in state.items() if x.is_floating_point() and ".running_" not in f".{n}"]
    missing = next((name for name in names if name not in state), None)
    if missing is not None:
        raise UsageError(f"There is no parameter {missing!r} in the modes.")
    return [name for name in state if name in set(names)]


def _counted(names: Collection[str], first: Mapping[str, str]) -> list[str]:
    """Keep one name of each tied tensor: a distance counts it once."""
    return list({first[name]: name for name in names}.values())


def _gram(points: Sequence[StateDict], names: Collection[str]) -> NDArray[np.float64]:
    """Return the inner products of all differences to the first point, in float64."""
    size = len(points) - 1
    total = np.zeros((size, size))
    for name in names:
        origin = points[0][name].detach().double().reshape(-1)
        differences = torch.stack([point[name].detach().double().reshape(-1) - origin for point in points[1:]])
        total += (differences @ differences.T).cpu().numpy()
    return total


def _equal_modes(gram: NDArray[np.float64], names: Sequence[str]) -> str | None:
    distances = {(0, 1): gram[0, 0], (0, 2): gram[1, 1], (1, 2): gram[0, 0] + gram[1, 1] - 2 * gram[0, 1]}
    found = [f"{names[i]} and {names[j]}" for (i, j), d in distances.items() if d <= _FLAT**2 * gram.max()]
    return found[0] if found else None


@torch.no_grad()
def _mixed(name: str, values: Sequence[Tensor], weights: NDArray[np.float64]) -> Tensor:
    heaviest = int(weights.argmax())
    if not (values[0].is_floating_point() or values[0].is_complex()):
        return values[heaviest].clone()
    dtype = _widest(values)
    if weights[heaviest] == 1.0 and np.count_nonzero(weights) == 1:
        return values[heaviest].to(dtype, copy=True)  # exact, and 0 * inf would be NaN
    if all(value is values[0] for value in values):
        return values[0].to(dtype, copy=True)
    wide = [value.to(dtype) for value in values]
    mixed = sum((w * x for w, x in zip(weights.tolist(), wide, strict=True)), torch.zeros_like(wide[0]))
    if name.rpartition(".")[2] == "running_var":
        mixed = torch.maximum(mixed, torch.stack(wide).amin(dim=0))
    return mixed


def _widest(values: Sequence[Tensor]) -> torch.dtype:
    dtype = torch.float32
    for value in values:
        dtype = torch.promote_types(dtype, value.dtype)
    return dtype


def _displaced(mode: StateDict, moving: Collection[str], draw: torch.Generator) -> dict[str, Tensor]:
    """Return the mode one filter-normalised direction away from itself; what does not move is the mode's own."""
    first = _first_names((mode, mode))
    moved: dict[str, Tensor] = {}
    for name in moving:
        if first[name] not in moved:
            moved[first[name]] = mode[name].detach() + _direction(mode[name].detach(), draw)
    return {name: moved.get(first[name], tensor) for name, tensor in mode.items()}


def _direction(tensor: Tensor, draw: torch.Generator) -> Tensor:
    wide = torch.promote_types(tensor.dtype, torch.float32)
    drawn = torch.randn(tensor.shape, generator=draw, dtype=torch.float32).to(tensor.device, wide)
    return drawn * (_filter_norms(tensor.to(wide)) / _filter_norms(drawn).clamp_min(torch.finfo(wide).tiny))


def _filter_norms(tensor: Tensor) -> Tensor:
    return tensor.flatten(1).norm(dim=1).reshape(-1, *[1] * (tensor.dim() - 1))
