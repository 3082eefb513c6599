"""References such as ``mnist?normalize=none`` to datasets."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lmc._errors import DatasetError, UsageError, did_you_mean, unknown
from lmc._imports import which_name
from lmc._reference import Reference
from lmc.datasets.cifar10 import cifar10, cifar10_4k
from lmc.datasets.data import AbstractData, Data, StreamedData
from lmc.datasets.digits import digits
from lmc.datasets.files import from_code, npz
from lmc.datasets.mnist import fashion_mnist, mnist
from lmc.datasets.normalization import PRESETS, Normalization
from lmc.datasets.text import text

DATASETS: dict[str, tuple[Callable[..., Data], str]] = {
    "digits": (digits, "none"),
    "mnist": (mnist, "mnist"),
    "fashion-mnist": (fashion_mnist, "mnist"),
    "cifar10": (cifar10, "cifar10"),
    "cifar10-4k": (cifar10_4k, "cifar10"),
}
"""Name, as ``--data`` takes it, to function and usual normalisation.

Fashion-MNIST is usually normalised with MNIST's constants; its own are ``normalize=fashion-mnist``.
"""

SPLITS = ("train", "test")
_COMMON = ("limit", "normalize", "mean", "std")
_FORMS = "Or text:FILE, FILE.npz, package.module:factory, file.py:factory."


def open_data(reference: str, split: str = "test", data_dir: str | os.PathLike[str] | None = None) -> AbstractData:
    """Open a dataset by reference.

    Parameters
    ----------
    reference : str
        A name of ``DATASETS``, ``text:file``, ``file.npz``, or an import path to a factory, with options:
        ``normalize=`` a preset (``none``, ``mnist``, ``cifar10``, ``imagenet``, ...), or ``mean=`` and ``std=``, one
        value per channel; ``limit=N`` for the first N examples; ``task=`` ``classification``, ``tokens`` or
        ``regression`` for an npz file or a factory; ``block=`` for text; a factory's own.
    split : {"train", "test"}
        Which part. A set that has no such part says in ``split`` and ``notes`` what was used instead.
    data_dir : path-like, optional
        A folder of datasets; then ``LMC_DATA_DIR`` and the user's cache are searched, and last the network.

    Returns
    -------
    AbstractData
        Held in memory, but for what a factory streams.

    Raises
    ------
    UsageError
        For an unknown name, option or split.
    DatasetError
        If it is missing, damaged, or does not fit its options.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    parsed = Reference.parse(reference)
    own = {key: value for key, value in parsed.options.items() if key not in _COMMON}
    opener, usual = _opener(Reference(parsed.name, own))
    data = opener(split, Path(data_dir) if data_dir is not None else None)
    normalization = _normalization(parsed, usual, data.normalization)
    _check_channels(normalization, data)
    if not isinstance(data, (Data, StreamedData)):
        return data
    data = replace(data, reference=reference, normalization=normalization)
    limit = parsed.options.get("limit")
    return data if limit is None else _limited(data, limit)


def _opener(reference: Reference) -> tuple[Callable[[str, Path | None], AbstractData], str | None]:
    """Return what opens the dataset, its own options bound, and the preset it is usually normalised with."""
    name = reference.name
    if name in DATASETS:
        function, usual = DATASETS[name]
        return _bound(function, reference), usual
    if name.startswith("text:"):
        return _bound(partial(text, name.removeprefix("text:")), reference), "none"
    if name.endswith(".npz"):
        return _bound(partial(npz, name), reference), "none"
    if ":" in name:
        return partial(from_code, reference), None
    if name.endswith(".py"):
        raise UsageError(which_name(name))
    raise UsageError(f"{unknown('dataset', name, DATASETS)} {_FORMS}")


def _bound(function: Callable[..., AbstractData], reference: Reference) -> Callable[..., AbstractData]:
    parameters = inspect.signature(function).parameters.values()
    known = [*(p.name for p in parameters if p.kind is p.KEYWORD_ONLY), *_COMMON]
    for key in reference.options:
        if key not in known:
            hint = did_you_mean(key, known)
            raise UsageError(f"{reference.name!r} has no option {key!r}.{hint} Its options: {', '.join(known)}.")
    return partial(function, **reference.options)


def _normalization(reference: Reference, usual: str | None, own: Normalization | None) -> Normalization | None:
    """Read ``normalize``, or ``mean`` and ``std``; else what the set is usually normalised with."""
    options: dict[str, Any] = reference.options
    if ("mean" in options) != ("std" in options) or ("normalize" in options and "mean" in options):
        raise UsageError(f"{reference.name}: give mean and std together, or normalize alone.")
    if "mean" in options:
        return Normalization(*(_floats(options[key], f"{reference.name}: {key}") for key in ("mean", "std")))
    if "normalize" not in options:
        return own if usual is None else PRESETS[usual]
    preset = str(options["normalize"] or "none").lower()
    if preset not in PRESETS:
        raise UsageError(f"{unknown('normalisation', preset, PRESETS)} Or give mean=0.5 and std=0.5, one per channel.")
    return PRESETS[preset]


def _floats(value: Any, what: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in (value if isinstance(value, tuple) else (value,)))
    except (TypeError, ValueError):
        raise UsageError(f"{what} must be numbers, one per channel, not {value!r}.") from None


def _check_channels(normalization: Normalization | None, data: AbstractData) -> None:
    if normalization is None:
        return
    channels = data.input_shape[0] if data.input_shape else 1
    if data.task == "tokens" or len(normalization.mean) not in (1, channels):
        raise DatasetError(
            f"{data.name}: {len(normalization.mean)} normalisation constant(s) for examples of shape "
            f"{data.input_shape}; give one per channel, or normalize=none."
        )


def _limited(data: Data | StreamedData, limit: Any) -> Data:
    if isinstance(data, StreamedData):
        raise UsageError(f"{data.name}: limit works on sets held in memory; let the factory return fewer batches.")
    if not isinstance(limit, int) or limit < 1:
        raise UsageError(f"{data.name}: limit={limit!r} must be a whole number above 0.")
    return data.limited(limit)
