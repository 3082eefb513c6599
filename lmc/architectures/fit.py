"""Weights matched to a module before anything is computed with them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmc._errors import MismatchError
from lmc._types import StateDict
from lmc.architectures.architecture import AbstractNetwork, shapes_of
from lmc.architectures.naming import match_names
from lmc.architectures.resolve import recognised_as

_SHOWN = 8
_EXAMPLES = 3
_ENOUGH = 0.25  # of the network's names: fewer that match, and it is another network


def fit_state(state: StateDict, module: nn.Module, source: str) -> dict[str, Tensor]:
    """Match a state dict to a module.

    Names that differ are matched where that can be done in one way only, see `match_names`. Two kinds of missing keys
    are filled in: ``num_batches_tracked`` (zero, as torch does for files from before it existed), and
    names that are tied in the module to one that is there.

    Parameters
    ----------
    state : mapping of str to Tensor
        Weights of a checkpoint; not changed.
    module : torch.nn.Module
        The network; not changed.
    source : str
        Where the weights come from, for the error.

    Returns
    -------
    dict of str to Tensor
        The same tensors, complete, with their own dtypes, in the order of ``module.state_dict()``.

    Raises
    ------
    MismatchError
        Listing missing, unexpected and mis-shaped keys, each with the nearest name; in one line where all names
        differ by a prefix, or where the weights are of another architecture.
    """
    wanted = module.state_dict()
    renamed = match_names(state, wanted)
    if renamed:
        rest = {name: tensor for name, tensor in state.items() if name in wanted}
        state = rest | {name: state[other] for name, other in renamed.items()}
    filled = {**_filled(state, wanted), **state}
    missing = [key for key in wanted if key not in filled]
    unexpected = [key for key in state if key not in wanted]
    shapes, needed = shapes_of(state), shapes_of(wanted)
    misshaped = [key for key in state if key in wanted and shapes[key] != needed[key]]
    if missing or unexpected or misshaped:
        whole = _another(state, module)
        if whole:
            raise MismatchError(f"{source}: {whole}")
        parts = [
            _listing("missing", [f"{key} {needed[key]}{_nearest(key, unexpected)}" for key in missing]),
            _listing("unexpected", [f"{key} {shapes[key]}{_nearest(key, missing)}" for key in unexpected]),
            _listing("of another shape", [f"{key} is {shapes[key]}, needed {needed[key]}" for key in misshaped]),
        ]
        raise MismatchError(
            f"{source}: the weights do not fit the network ({type(module).__name__}).\n"
            + "\n".join(part for part in parts if part)
            + "\nPass the --model that they were trained as, with its sizes; or say with --map which name is which."
        )
    return {key: filled[key] for key in wanted}


def _another(state: StateDict, module: nn.Module) -> str:
    """Say so where next to nothing matches and the shapes differ too, so that no list of names would help."""
    wanted = module.state_dict()
    unexpected = [key for key in state if key not in wanted]
    renamed = sorted(shapes_of(state).values()) == sorted(shapes_of(wanted).values())
    if renamed or not unexpected or _ENOUGH * len(wanted) < len(state) - len(unexpected):
        return ""
    found = recognised_as(state)
    network = module.describe() if isinstance(module, AbstractNetwork) else type(module).__name__
    examples = [f"{key} {tuple(state[key].shape)}" for key in unexpected[:_EXAMPLES]]
    dots = ["..."] if len(unexpected) > _EXAMPLES else []
    return (
        f"the weights look like another architecture{found and ', recognised as '}{found}; the network is {network}. "
        f"{len(unexpected)} of {len(state)} names are not the network's ({', '.join(examples + dots)}). "
        "Pass the --model that they were trained as; two models that are compared need one architecture."
    )


def _filled(state: StateDict, wanted: StateDict) -> dict[str, Tensor]:
    """Return what may be missing: batch counters, and names tied to one that is present."""
    present = {_memory(wanted[key]): state[key] for key in state if key in wanted and wanted[key].numel() > 1}
    filled = {}
    for key, value in wanted.items():
        if key.endswith("num_batches_tracked"):
            filled[key] = torch.zeros_like(value)
        elif value.data_ptr() and _memory(value) in present:
            filled[key] = present[_memory(value)]
    return filled


def _memory(value: Tensor) -> tuple:
    return value.data_ptr(), value.shape, value.stride()


def _listing(kind: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    rest = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return f"  {kind} ({len(lines)}): " + "; ".join([*lines[:_SHOWN], *rest])


def _nearest(key: str, candidates: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, candidates, n=1, cutoff=0.6)
    return f" (near: {near[0]})" if near else ""
