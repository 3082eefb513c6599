"""What the units of a layer are to each other, within one network: hidden-to-hidden weights, or distances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lmc._types import StateDict
from lmc.alignment.families import Family
from lmc.alignment.transport import transport_one
from lmc.fusion.fused_gw import Target, Units
from lmc.fusion.layers import Layers, Place, Rows
from lmc.symmetry import Axis, PermutationSpec


def recurrent(layers: Layers, family: Family) -> list[NDArray[np.float64]]:
    """Return the weights from a group's units to themselves, of every network.

    Parameters
    ----------
    layers : Layers
        The networks; what such a tensor reads beside the group is carried to the target's places.
    family : Family
        A group that is matched alone.

    Returns
    -------
    list of array, shape (blocks, kinds, units, units)
        ``[b, k, i, j]``: what unit i reads of unit j. A kind is a gate, or a position of a kernel; none where the group
        does not read itself.
    """
    problem, group = layers.problem, family.groups[0]
    known = layers.settled | {group.name}
    kept = [
        name
        for name in _both_sides(layers.target, group.name)
        if name not in layers.target.buffers and {other for other, _ in layers.target.axes_of[name]} <= known
    ]
    found = []
    for spec, state, makes in zip(problem.specs, problem.states, layers.makes, strict=True):
        maps = {name: (matrix, matrix) for name, matrix in makes.items() if name != group.name}
        kinds = []
        for name in kept:
            tensor = transport_one(name, state[name].detach().double().cpu(), spec, layers.target, maps, layers.roles)
            rows, columns = (axis for other, axis in spec.axes_of[name] if other == group.name)
            kinds.append(_pairs(tensor.numpy(), rows, columns, spec[group.name].blocks))
        size = spec[group.name].size
        found.append(np.concatenate([*kinds, np.zeros((group.blocks, 0, size, size))], axis=1))
    return found


def _both_sides(spec: PermutationSpec, group: str) -> list[str]:
    return [name for name, held in spec.axes_of.items() if [other for other, _ in held].count(group) == 2]


def _pairs(tensor: NDArray[np.float64], rows: Axis, columns: Axis, blocks: int) -> NDArray[np.float64]:
    """Return the entries of a tensor by the units of both its axes, shape (blocks, kinds, units, units)."""
    if rows.dim > columns.dim:
        rows, columns = columns, rows
    numbers = torch.arange(tensor.size).reshape(tensor.shape)
    reads = columns.units(numbers).numpy()
    reader = np.full(tensor.size, -1)
    reader[reads.ravel()] = np.repeat(np.arange(len(reads)), reads.shape[1])
    made = rows.units(numbers).numpy()
    size = len(made) // blocks
    values = tensor.ravel()[made].reshape(blocks, size, -1)
    owner = reader[made].reshape(blocks, size, -1)[:, 0] - np.arange(blocks)[:, None] * size
    found = []
    for block in range(blocks):
        inside = np.flatnonzero((owner[block] >= 0) & (owner[block] < size))
        order = inside[np.argsort(owner[block, inside], kind="stable")]
        found.append(values[block][:, order].reshape(size, size, -1).transpose(2, 0, 1))
    return np.stack(found)


def distances(spec: PermutationSpec, state: StateDict, family: Family) -> NDArray[np.float64]:
    """Return how far the weights of every two units of a network are apart, over all tensors they lie in.

    The order of the neighbouring layers cancels, so that networks are compared whatever their units were matched to.

    Returns
    -------
    array, shape (blocks, 1, units, units)
        Root mean square distances of the entries, so that widths of neighbours do not count.
    """
    group = spec[family.groups[0].name]
    held = [axis for axis in group.axes if axis.param not in spec.buffers]
    parts = [axis.units(state[axis.param].detach().double().cpu()) for axis in held]
    rows = torch.cat(parts, dim=1).numpy().reshape(group.blocks, group.size, -1)
    gram = rows @ rows.transpose(0, 2, 1)
    squares = np.einsum("bii->bi", gram)
    apart = np.maximum(squares[:, :, None] + squares[:, None] - 2 * gram, 0.0) / max(1, rows.shape[2])
    return np.sqrt(apart)[:, None]


def outgoing(layers: Layers, family: Family) -> list[tuple[Rows, ...]]:
    """Return what reads the units of a group, for every tensor whose own units are matched or need not be (outputs).

    Scaled by how many units of the network a target unit stands for: what is read of a unit is split among its places.
    """
    spec, group = layers.target, family.groups[0]
    found = []
    for axis in group.axes:
        held = [(name, one) for name, one in spec.axes_of[axis.param] if one is not axis]
        makes = (axis.param, axis.dim, group.name) in layers.roles.makes
        if makes or axis.param in spec.buffers or not {name for name, _ in held} <= layers.settled - {group.name}:
            continue
        axes = {group.name: axis}
        parts = []
        for network, one in enumerate(layers.problem.specs):
            rows, scale = layers.rows(family, axis.param, axes, network), one[group.name].size / group.size
            parts.append(rows.times(scale))
        found.append(tuple(parts))
    return found


def compared(
    layers: Layers, family: Family, alpha: float | str, *, reach: str = "both", shown: Place | None = None
) -> list[Units]:
    """Return what the units of a group are compared by, block by block.

    Parameters
    ----------
    layers : Layers
        The networks, the groups before this one carried to the target's places.
    family : Family
        A group that is matched alone.
    alpha : float or "auto"
        Weight of the relations, see :class:`GromovWassersteinBarycenter`.
    reach : {"incoming", "both"}
        Whether weights that read the units count as well, where what they make is known already.
    shown : Place, optional
        What the units do on examples, to be compared by that in place of their weights.
    """
    problem, group = layers.problem, family.groups[0]
    relations = recurrent(layers, family)
    own = relations[0].shape[1] > 0
    if not own:
        relations = [distances(*one, family) for one in zip(problem.specs, problem.states, strict=True)]
    seen = [*shown.rows] if shown is not None else _weights(layers, family, reach)
    rows = [one.values.numpy().reshape(group.blocks, len(one.values) // group.blocks, -1) for one in seen]
    squares = [one.squares.numpy().reshape(group.blocks, -1) for one in seen]
    entries = rows[0].shape[2] / relations[0].shape[1] if rows else 1.0
    if shown is not None:  # in units of the mean square of a state, not of weights
        entries = float(np.mean([one.mean() for one in squares])) or 1.0
    found = []
    for block in range(group.blocks):
        units = Units(
            [[one[block] @ other[block].T / entries for other in rows] for one in rows],
            [one[block] / entries for one in squares],
            [one[block] for one in relations],
            1.0,
            problem.mix,
        )
        balanced = group.size / entries if own and shown is None else None
        found.append(replace(units, alpha=_weight(units, alpha, balanced)))
    return found


def _weights(layers: Layers, family: Family, reach: str) -> list[Rows]:
    """Return the weights of a group's units in every network as rows, none where none can be compared."""
    places = layers.places(family)
    parts = [places[0].rows] if places else []
    parts += outgoing(layers, family) if reach == "both" else []
    return [Rows.joined(one) for one in zip(*parts, strict=True)]


def _weight(units: Units, alpha: float | str, balanced: float | None) -> float:
    """Return the weight of the relations: as given, by entries, or so that both terms weigh the same at random."""
    if not units.gram:
        return 1.0
    if alpha != "auto":
        return float(alpha)
    if balanced is not None:
        return balanced
    terms = np.zeros(2)
    first = Target.copy(units, 0, np.arange(units.sizes[0]))
    for i, share in enumerate(units.mix):
        pairing = first.pairing(units, i)
        alike = np.full(pairing.cost.shape, 1 / pairing.cost.size)
        features = float((pairing.cost * alike).sum())
        terms += share * np.array([features, replace(pairing, alpha=1.0).value(alike) - features])
    return float(terms[0] / terms[1]) if terms[1] > 0 else 1.0
