"""The words every room shares: state dicts and permutations.

Nothing here computes on weights, and torch is named for type checkers only, so that the plotting layer and the
command line's help may import this file without paying for torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Index: TypeAlias = NDArray[np.int64]

StateDict: TypeAlias = "Mapping[str, Tensor]"
"""Parameter and buffer names to tensors, in torch layout."""

Permutation: TypeAlias = "Mapping[str, Index]"
"""Group name to index vector, with ``new[i] = old[perm[i]]`` (``w.index_select(dim, perm)``).

A group that is permuted separately for each index of an outer group (inside heads, say) has one row per outer index,
in the order of the *new* outer axis: ``new[h, i] = old[outer[h], inner[h, i]]``.
"""


def invert(perm: Index) -> Index:
    """Return the permutation that undoes ``perm``: ``old[perm][invert(perm)] == old`` (rows of a 2-D index apart)."""
    return np.argsort(perm, axis=-1)


def compose(first: Index, then: Index) -> Index:
    """Return the permutation that equals ``first``, then ``then``, row by row: ``old[first][then] == old[compose]``."""
    return np.take_along_axis(np.asarray(first), np.asarray(then), axis=-1)
