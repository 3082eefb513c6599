"""The examples that alignments may look at: never those that barriers are reported on."""

from __future__ import annotations

import os
from collections.abc import Iterable

from lmc._errors import UsageError
from lmc.alignment import AbstractAlignment
from lmc.datasets import AbstractData, open_data


def alignment_data(
    methods: Iterable[AbstractAlignment],
    reference: str | None,
    measured: AbstractData | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
) -> AbstractData | None:
    """Open the examples for alignment, if any method looks at examples.

    Parameters
    ----------
    methods : iterable of AbstractAlignment
        Those asked for.
    reference : str, optional
        Dataset asked for, its training split; by default the training split of the measured data.
    measured : AbstractData, optional
        What barriers are reported on.
    data_dir : path-like, optional
        Folder of datasets.

    Returns
    -------
    AbstractData or None

    Raises
    ------
    UsageError
        If there is no dataset to take, or it holds just the examples that are measured on.
    """
    if all(method.needs != "data" for method in methods):
        return None
    default = None if measured is None else measured.reference
    if reference is None and default is None:
        raise UsageError("This alignment looks at examples: pass --align-data (mnist, digits, FILE.npz), or --data.")
    found = open_data(str(reference or default), "train", data_dir)
    check_apart(found, measured)
    return found


def check_apart(found: AbstractData, measured: AbstractData | None) -> None:
    """Raise UsageError where alignment would see just the examples that the barrier is reported on."""
    if measured is not None and found.size == measured.size and found.digest == measured.digest:
        raise UsageError(
            f"The alignment would look at the very examples that the barrier is reported on ({measured.name}, "
            f"{measured.split}): measure on another split, or name other examples by --align-data."
        )
