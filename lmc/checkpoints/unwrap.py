"""Finds the state dict in what a training script saved: bare, or under a wrapper key beside other things."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmc._errors import CheckpointError, did_you_mean
from lmc.checkpoints.format import printable, refuse

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""

_DEPTH = 4
_MOMENTS = frozenset(
    {"step", "momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf"}
    | {"square_avg", "grad_avg", "acc_delta", "sum", "prev"}
)
"""Names that torch's optimizers give to what they keep for one parameter."""

_METRICS = frozenset(
    {"tp", "fp", "tn", "fn", "correct", "total", "confmat", "sum_value", "mean_value", "min_value", "max_value"}
    | {"measures", "sum_squared_error", "sum_abs_error", "n_obs", "num_obs"}
)
"""Names that torchmetrics gives to what it counts."""

_MOST_RECORDED = 256
_NOT_PLAIN = object()


@dataclass(frozen=True)
class Unwrapped:
    """The state dict, the dotted name of the entry it was found under, and the plain values beside it."""

    state: dict[str, Tensor]
    entry: str | None
    recorded: dict[str, Any]


def unwrap(tree: Any, path: Path, entry: str | None = None, dequantize: bool = False) -> Unwrapped:
    """Find the one entry that looks like a state dict, or the one that is named; quantised tensors on demand."""
    candidates = dict(_candidates(tree, set()))
    if not candidates:
        raise _nothing(tree, path)
    if entry is not None and entry not in candidates:
        names = printable(", ".join(map(repr, filter(None, candidates))), 400) or "none, its weights are not wrapped"
        raise refuse(path, f"has no weights under {entry!r}", f"Entries: {names}.{did_you_mean(entry, candidates)}")
    if entry is None and len(candidates) > 1:
        names = printable(", ".join(f"{name!r} ({len(found)} tensors)" for name, found in candidates.items()), 400)
        advice = f"Choose one (entry={printable(next(iter(candidates)))!r}), or save it in a file of its own."
        raise refuse(path, f"holds {len(candidates)} state dicts: {names}", advice)
    name = next(iter(candidates)) if entry is None else entry
    state = {key: value.detach() for key, value in candidates[name].items() if isinstance(value, Tensor)}
    if dequantize:
        state = {key: tensor.dequantize() if tensor.is_quantized else tensor for key, tensor in state.items()}
    for key, tensor in state.items():
        _check_dense(key, tensor, path)
    return Unwrapped(state, name or None, _record(tree))


def strip_prefixes(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], str | None]:
    """Take off the prefixes of wrappers, as often as every name has one; also say what was taken."""
    stripped = ""
    while prefix := next((p for p in PREFIXES if all(k.startswith(p) and k != p for k in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        stripped += prefix
    return state, stripped or None


def drop_metrics(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Leave out the counts that metrics keep in a Lightning module (``train_acc.tp``); also return their names.

    A layer's own tensors never stand under these names, and never without a weight beside them.
    """
    layers: dict[str, set[str]] = {}
    for name in state:
        layer, _, leaf = name.rpartition(".")
        layers.setdefault(layer, set()).add(leaf)
    counts = [name for name in state if layers[name.rpartition(".")[0]] <= _METRICS]
    return {name: tensor for name, tensor in state.items() if name not in counts}, counts


def _candidates(tree: Any, seen: set[int], parents: tuple[str, ...] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the dotted name of every state dict in nested mappings, and the state dict, each once."""
    if not isinstance(tree, Mapping) or "param_groups" in tree or id(tree) in seen:
        return
    seen.add(id(tree))
    if _is_state(tree):
        yield ".".join(parents), tree
    elif len(parents) < _DEPTH:
        for key, value in tree.items():
            yield from _candidates(value, seen, (*parents, str(key)))


def _is_state(tree: Mapping[Any, Any]) -> bool:
    """Whether names lead to tensors, one of them weights; plain values may stand among them."""
    tensors = {key: value for key, value in tree.items() if isinstance(value, Tensor)}
    others = {key: value for key, value in tree.items() if key not in tensors}
    return (
        all(isinstance(key, str) for key in tree)
        and any(_is_weight(tensor) for tensor in tensors.values())
        and all(key.endswith("_extra_state") or _scalar(value) is not _NOT_PLAIN for key, value in others.items())
        and not _MOMENTS.issuperset(tensors)
    )


def _is_weight(tensor: Tensor) -> bool:
    return tensor.ndim > 0 and (tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized)


def _check_dense(name: str, tensor: Tensor, path: Path) -> None:
    if tensor.is_quantized:
        what = f"holds quantised weights ({printable(name)}: {tensor.dtype})"
        raise refuse(path, what, "Pass --dequantize (in Python dequantize=True): tensor.dequantize().")
    if tensor.is_meta:
        what = f"holds shapes without values ({printable(name)} is on device 'meta')"
        raise refuse(path, what, "Save the model after its weights are loaded.")
    if tensor.layout is not torch.strided:
        what = f"holds a sparse tensor ({printable(name)}: {tensor.layout})"
        raise refuse(path, what, "Save it dense: tensor.to_dense().")


def _nothing(tree: Any, path: Path) -> CheckpointError:
    """Return the error for a file without a state dict."""
    save = "Save the weights: torch.save(model.state_dict(), 'weights.pt')"
    if _holds_optimizer(tree):
        return refuse(path, "holds an optimizer's state, not the weights of a network", save)
    if not isinstance(tree, Mapping):
        return refuse(path, f"holds a {type(tree).__name__}, not a state dict", save)
    if tree and all(isinstance(value, Tensor) and not value.is_floating_point() for value in tree.values()):
        what = "holds a dataset or indices, not weights: no tensor is of a floating-point type"
        return refuse(path, f"{what} ({_kinds(tree)})", f"A dataset is given with --data. {save}")
    return refuse(path, f"holds no state dict (names with floating-point tensors), only {_kinds(tree)}", save)


def _holds_optimizer(tree: Any) -> bool:
    """Whether a mapping, or one in it, is an optimizer's state or what it keeps for one parameter."""
    if not isinstance(tree, Mapping):
        return False
    mappings = [tree, *(value for value in tree.values() if isinstance(value, Mapping))]
    return any("param_groups" in found or (found and _MOMENTS.issuperset(found)) for found in mappings)


def _kinds(tree: Mapping[Any, Any]) -> str:
    """List a few keys with what they hold."""
    kinds = [f"{printable(key, 40)}: {_kind(value)}" for key, value in islice(tree.items(), 6)]
    return ", ".join(kinds) + (", ..." if len(tree) > len(kinds) else "") if kinds else "an empty dict"


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__


def _record(tree: Any, depth: int = 2) -> dict[str, Any]:
    """Return the small plain values beside the weights, one level of nesting kept (arguments, settings)."""
    recorded: dict[str, Any] = {}
    bare = _is_state(tree)
    for key, value in islice(tree.items(), _MOST_RECORDED):
        if isinstance(value, (argparse.Namespace, SimpleNamespace)):
            value = vars(value)
        if isinstance(value, Tensor) and bare:
            continue
        if isinstance(value, Mapping):
            plain = _record(value, depth - 1) if depth > 1 and not _is_state(value) else {}
        else:
            plain = _plain(value)
        if plain is not _NOT_PLAIN and plain not in ({}, []):
            recorded[str(key)] = plain
    return recorded


def _plain(value: Any) -> Any:
    """Return a scalar or a short list of scalars as JSON stores it, or the mark that it is neither."""
    if isinstance(value, (list, tuple)) and len(value) <= 16:
        items = [_scalar(item) for item in value]
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in items) else items
    return _scalar(value)


def _scalar(value: Any) -> Any:
    """Return None, a number or a short string (numpy's and tensors of no dimension too), or the mark."""
    if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.ndim == 0 and not value.is_meta):
        value = value.item()
    if isinstance(value, str):
        return value if len(value) <= 256 else _NOT_PLAIN
    if isinstance(value, int):
        return value if value.bit_length() <= 64 else _NOT_PLAIN
    return value if value is None or isinstance(value, float) else _NOT_PLAIN
