"""Networks carried along the maps of their strands, and whether they are still the same functions afterwards."""

from __future__ import annotations

from torch import Tensor

from lmc._types import StateDict
from lmc.alignment.transport import order_of
from lmc.evaluation.engine import load_copy
from lmc.fusion.problem import Problem
from lmc.fusion.settings import held, network_batches, place_of
from lmc.fusion.strand_maps import StrandMaps, carry
from lmc.fusion.strands import Strands


def carried_along(problem: Problem, strands: Strands, maps: StrandMaps) -> dict[str, Tensor]:
    """Return a network carried to the anchor's places; names that share a tensor go on sharing one."""
    done: dict[tuple[int, str], Tensor] = {}
    result = {}
    for name, tensor in problem.states[maps.number].items():
        known = problem.target.aliases.get(name, name)
        key = (tensor.data_ptr() or id(tensor), known)
        if key not in done:
            moves = tensor.is_floating_point()
            done[key] = carry(strands, known, tensor, maps.number, maps.couplings) if moves else tensor
        result[name] = done[key]
    return result


def in_dtypes(problem: Problem, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state in the dtypes of the first network, ties kept."""
    cast: dict[int, Tensor] = {}
    for name, tensor in state.items():
        cast.setdefault(id(tensor), tensor.to(problem.states[0][name].dtype))
    return {name: cast[id(tensor)] for name, tensor in state.items()}


def changed(problem: Problem, strands: Strands, maps: StrandMaps, moved: StateDict, examples: int | None) -> str:
    """Say why a network carried along its maps is another function, and on examples how far; nothing where it is none.

    Parameters
    ----------
    problem : Problem
        The networks; with data and modules they are run.
    strands : Strands
        What moved.
    maps : StrandMaps
        Along what.
    moved : StateDict
        The network afterwards.
    examples : int or None
        How many are run at most, 256 in any case.
    """
    why = _reasons(strands, maps)
    if not why:
        return ""
    text = f"network {maps.number + 1} carried along its maps is another function: {' and '.join(why)}"
    distance = _distance(problem, maps.number, moved, examples)
    return text + ("" if distance is None else f"; its outputs change by {100 * distance:.2g}% of their size")


def _reasons(strands: Strands, maps: StrandMaps) -> list[str]:
    """Return what keeps maps from being one permutation of each group."""
    soft, apart = 0, dict[str, None]()
    orders: dict[tuple[str, bool], bytes] = {}
    for number, one in enumerate(strands.strands):
        order = order_of(maps.couplings[number].makes()) if one.sizes[0] == one.sizes[1 + maps.number] else None
        if order is None:
            soft += 1
            continue
        key = (one.group, False)
        if one.opened:  # whole heads have to move, and those of one family alike
            heads = order.reshape(strands.target[one.group].blocks, -1) // strands.target[one.group].size
            if (heads != heads[:, :1]).any():
                apart[f"units of {one.group} leave their heads"] = None
            family = (strands.families[one.family].name, True)
            if orders.setdefault(family, heads[:, 0].tobytes()) != heads[:, 0].tobytes():
                apart[f"heads of {one.group} go elsewhere than those they meet"] = None
        if orders.setdefault(key, order.tobytes()) != order.tobytes():
            apart[f"maps of {one.group} differ from place to place"] = None
    return [*([f"{soft} of {len(strands.strands)} maps are soft"] if soft else []), *apart]


def _distance(problem: Problem, number: int, moved: StateDict, examples: int | None) -> float | None:
    """Return how far a network's outputs move when it is carried, relative to their size; None if it cannot be run."""
    if problem.data is None or problem.module is None or not problem.modules:
        return None
    data = held(problem.data, min(256, examples or 256))
    after = in_dtypes(problem, dict(moved))
    device, dtype = place_of(problem)
    pairs = ((problem.modules[number], problem.states[number]), (problem.module, after))
    one, other = (load_copy(module, state, device, dtype).eval() for module, state in pairs)
    apart = size = 0.0
    for x, _ in network_batches(data, 128, problem):
        was, now = one(x), other(x)
        if not isinstance(was, Tensor) or not isinstance(now, Tensor):
            return None
        apart += float(((was - now).double() ** 2).sum())
        size += float((was.double() ** 2).sum())
    return (apart / size) ** 0.5 if size > 0 else None
