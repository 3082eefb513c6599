"""The main job as a unit of work: what determines a barrier, and a barrier from paths and settings alone."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import nn

from lmc._errors import InputError
from lmc._imports import import_object
from lmc._types import StateDict
from lmc.checkpoints import load
from lmc.datasets import AbstractData, open_data
from lmc.pipeline.align_data import alignment_data
from lmc.pipeline.compare import barrier, resolve_alignments
from lmc.pipeline.pair import Pair, data_for, load_pair
from lmc.pipeline.prove import Proof, prove
from lmc.units import Unit, WorkFolder, fingerprint

_SAID = frozenset({"attrs", "progress", "work"})
"""Settings that determine nothing."""

_SHOWN = (str, int, float, bool, type(None))


def barrier_unit(model: nn.Module, state_a: StateDict, state_b: StateDict, data: AbstractData, **settings: Any) -> Unit:
    """Return the unit of a barrier: everything that determines what :func:`lmc.barrier` returns for these arguments.

    Parameters
    ----------
    model, state_a, state_b, data, **settings
        As for :func:`lmc.barrier`, and ``spec``, the TOML file of permutation groups where there is one; without it and
        without a ``proof`` the network determines them. Provenance, progress and folder do not count, nor does the
        number of threads, which changes sums in their last bits.

    Raises
    ------
    UsageError
        If a setting has no fingerprint.
    """
    proof: Proof | None = settings.pop("proof", None)
    written = settings.pop("spec", None)
    groups = None if proof is None else fingerprint(proof.spec.groups, proof.spec.aliases, proof.spec.buffers)
    about: dict[str, Any] = {
        "module": fingerprint(model),
        "a": fingerprint(state_a),
        "b": fingerprint(state_b),
        "data": data.digest,
        "normalization": str(data.normalization),
        "spec": groups if written is None else fingerprint(Path(written).read_bytes()),
        "versions": {name: importlib.metadata.version(name) for name in ("lmc", "torch", "numpy", "scipy")},
    }
    counted = {name: value for name, value in settings.items() if name not in _SAID}
    shown = {name: value if isinstance(value, _SHOWN) else fingerprint(value) for name, value in counted.items()}
    return Unit("barrier", {**about, "settings": shown})


@dataclass(frozen=True)
class BarrierTask:
    """A barrier by paths and settings: what sweeps hand to other processes; no tensors, a few hundred bytes.

    Parameters
    ----------
    a, b : str
        Checkpoints.
    align : str
        One alignment, as ``--align`` takes it.
    model, data : str, optional
        References; by default what the checkpoints say.
    split : str
        Of the data.
    data_dir, spec, entry, mapping : str, optional
        As in ``lmc barrier``.
    points : int
        Positions along the path.
    align_data : str, optional
        Data whose training split an alignment looks at, if it looks at examples; by default that of ``data``.
    recalibrate, repair : bool
        Whether BatchNorm statistics are reset on training data, or all units repaired.
    also : tuple of str
        Further quantities.
    loss : str, optional
        Import path of a loss.
    seed : int
        Of everything drawn.
    device, dtype : str
        Where and in which floating-point type.
    """

    a: str
    b: str
    align: str = "weights"
    model: str | None = None
    data: str | None = None
    split: str = "test"
    data_dir: str | None = None
    spec: str | None = None
    entry: str | None = None
    mapping: str | None = None
    points: int = 25
    align_data: str | None = None
    recalibrate: bool = False
    repair: bool = False
    also: tuple[str, ...] = ()
    loss: str | None = None
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"

    @cached_property
    def unit(self) -> Unit:
        """The unit: paths enter as the digests of what lies there, so that a file that moved is known again."""
        return _Opened.of(self).unit(self.spec)

    def run(self, folder: WorkFolder, progress: Any = None) -> xr.Dataset:
        """Return the barrier, kind "barrier" with one row; from the folder where it is there already.

        Parameters
        ----------
        folder : WorkFolder
            Where the result and, until then, its parts are kept.
        progress : callable, optional
            Such as ``tqdm.tqdm``.

        Returns
        -------
        xarray.Dataset
        """

        def compute() -> xr.Dataset:
            opened = _Opened.of(self)
            parts = WorkFolder(folder.path / f"{self.unit.filename}.parts").open()
            try:
                found = opened.measure(self, parts, progress)
            except BaseException:
                parts.close()
                raise
            parts.close(remove=True)
            return found

        (found,) = folder.run([(self.unit, compute)])
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was opened: only paths and settings travel."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Opened:
    """What a task's paths and references stand for."""

    pair: Pair
    data: AbstractData
    settings: Mapping[str, Any]

    @property
    def arguments(self) -> tuple[nn.Module, StateDict, StateDict, AbstractData]:
        return self.pair.a.architecture.module, self.pair.a.state, self.pair.b.state, self.data

    def unit(self, spec: str | None) -> Unit:
        return barrier_unit(*self.arguments, **self.settings, spec=spec)

    def measure(self, task: BarrierTask, parts: WorkFolder, progress: Any) -> xr.Dataset:
        architecture, proof = self.pair.a.architecture, None
        if task.align != "none":
            proof = prove(architecture.module, architecture.example_inputs(seed=task.seed), written=task.spec)
        attrs = {**self.pair.attrs(), "task": asdict(task)}
        options = {**self.settings, "proof": proof, "attrs": attrs, "work": parts, "progress": progress}
        return barrier(*self.arguments, **options)

    @classmethod
    def of(cls, task: BarrierTask) -> _Opened:
        methods = resolve_alignments([task.align], task.seed)
        loss = None if task.loss is None else import_object(task.loss, InputError)
        first, second = (load(path, entry=task.entry) for path in (task.a, task.b))
        data = data_for(first, task.data, split=task.split, data_dir=task.data_dir)
        sizes = {"input_shape": data.input_shape, "num_classes": data.num_classes}
        pair = load_pair(first, second, model=task.model, mapping=task.mapping, **sizes)
        train = open_data(data.reference, "train", task.data_dir) if task.recalibrate or task.repair else None
        settings = {
            "align": list(methods),
            "seed": task.seed,
            "points": task.points,
            "align_data": alignment_data(methods.values(), task.align_data, data, data_dir=task.data_dir),
            "recalibrate": train if task.recalibrate else None,
            "repair": train if task.repair else None,
            "also": list(task.also),
            "loss": loss,
            "device": task.device,
            "dtype": getattr(torch, task.dtype),
        }
        return cls(pair, data, settings)
