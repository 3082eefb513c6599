"""The examples that alignments may look at: never those that barriers are reported on."""

from __future__ import annotations

import os
from collections.abc import Iterable

from lmc._errors import UsageError
from lmc.alignment import AbstractAlignment
from lmc.datasets import AbstractData, Data, open_data
from lmc.fusion import AbstractFusion


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


def fusion_data(
    methods: Iterable[AbstractFusion],
    reference: str | None,
    measured: AbstractData | None = None,
    *,
    wanted: Iterable[str] = (),
    data_dir: str | os.PathLike[str] | None = None,
) -> AbstractData | None:
    """Open the examples that fusion looks at, if a method or anything after it does.

    Parameters
    ----------
    methods : iterable of AbstractFusion
        Those asked for.
    reference : str, optional
        Dataset asked for, its training split; by default the training split of the measured data.
    measured : AbstractData, optional
        What results are reported on.
    wanted : iterable of str
        What else takes examples, by the options that ask for it (``--finetune``).
    data_dir : path-like, optional
        Folder of datasets.

    Raises
    ------
    UsageError
        If there is no dataset to take, or it holds the examples that are measured on.
    """
    asking = [method.reference for method in methods if method.needs == "data"] + list(wanted)
    if not asking:
        return None
    default = None if measured is None else measured.reference
    if reference is None and default is None:
        raise UsageError(f"{asking[0]} looks at examples: pass --align-data (mnist, digits, FILE.npz), or --data.")
    found = open_data(str(reference or default), "train", data_dir)
    check_apart(found, measured, who="fusion", of="the networks are")
    return found


def check_apart(
    found: AbstractData, measured: AbstractData | None, *, who: str = "alignment", of: str = "the barrier is"
) -> None:
    """Raise UsageError where alignment, or who else looks at examples, would see those that results are reported on.

    A few that two splits of a public set have in common (tiny images, empty windows) are let pass: up to 1%.
    """
    if measured is None:
        return
    shared = _share_of_common_examples(found, measured)
    if shared > _FEW:
        raise UsageError(
            f"The {who} would look at {100 * shared:.0f}% of the examples that {of} reported on "
            f"({measured.name}, {measured.split}): measure on another split, or name other examples by --align-data."
        )


_FEW = 0.01


def _share_of_common_examples(found: AbstractData, measured: AbstractData) -> float:
    """Return the share of the measured examples that are in the other set; of streams only whether they are the same.

    Examples count as they are read, so that the normalisation of a set does not hide them.
    """
    if not isinstance(found, Data) or not isinstance(measured, Data):
        return float(found.size == measured.size and found.digest == measured.digest)
    if found.input_shape != measured.input_shape or found.inputs.dtype != measured.inputs.dtype:
        return 0.0
    rows = [one.inputs.flatten(1).contiguous().numpy() for one in (found, measured)]
    seen = {hash(row.tobytes()) for row in rows[0]}
    return sum(hash(row.tobytes()) in seen for row in rows[1]) / len(rows[1])
