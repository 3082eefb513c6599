"""Symmetries found and proved, or a stop: nothing is aligned by a spec that was not verified."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lmc._errors import SymmetryError
from lmc._imports import blame
from lmc.symmetry import PermutationSpec, Verification, find_symmetries, read_spec, verify


@dataclass(frozen=True)
class Proof:
    """A permutation spec with the verdict that lets it be used."""

    spec: PermutationSpec
    verification: Verification


def prove(
    module: nn.Module, example_inputs: Tensor | Sequence[Any], *, written: str | os.PathLike[str] | None = None
) -> Proof:
    """Find the symmetries of a network, or read them, and verify them.

    Parameters
    ----------
    module : torch.nn.Module
        Left as it is.
    example_inputs : Tensor or sequence
        Positional inputs of ``forward``.
    written : path-like, optional
        A TOML spec (:func:`lmc.symmetry.write_spec`) that corrects what is found, or stands for it where the network
        cannot be traced.

    Raises
    ------
    SymmetryError
        If the network cannot be traced, or a group changes its function; the guilty groups are named.
    UsageError
        If the TOML spec does not fit the network.
    """
    spec = found_or_written(module, example_inputs, written)
    try:
        verification = verify(spec, module, example_inputs)
    except Exception as error:  # the graph is the user's own code: whatever it raises in float64
        raise SymmetryError(
            f"The symmetries of {type(module).__name__} could not be checked: {blame(error)}."
        ) from error
    if not verification.ok:
        raise SymmetryError(
            f"The symmetries found in {type(module).__name__} could not be proved: {verification.message}. "
            "Nothing was aligned. --align none still measures the plain path."
        )
    return Proof(spec, verification)


def found_or_written(
    module: nn.Module, example_inputs: Tensor | Sequence[Any], written: str | os.PathLike[str] | None = None
) -> PermutationSpec:
    """Find the symmetries of a network, corrected by a TOML spec where one is given; not verified yet."""
    if written is None:
        return find_symmetries(module, example_inputs)
    try:
        found = find_symmetries(module, example_inputs)
    except SymmetryError:
        found = None
    return read_spec(written, module, found)
