"""The plan of a sweep: checkpoints, pairs, alignments, and from these the units; told by digests, never by tensors."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc._errors import InputError, LmcError, SchemaError, UsageError
from lmc._files import replacing
from lmc._imports import import_object
from lmc._methods import ALIGNMENTS, load_method
from lmc.alignment import AbstractAlignment
from lmc.architectures import resolve
from lmc.barriers import check_further
from lmc.checkpoints import Checkpoint
from lmc.datasets import AbstractData, Data, open_data
from lmc.pipeline import alignment_data, data_for, read_names, rename, resolve_alignments
from lmc.sweep.checks import check_settings, check_shapes
from lmc.sweep.members import Member, read_members
from lmc.sweep.pairs import choose_pairs
from lmc.sweep.settings import UNIVERSE, MeasureSettings, SweepSettings, parse_sweep
from lmc.sweep.universe import describe_universe
from lmc.units import Unit, fingerprint

PLAN = "plan.json"
"""Name of the plan in a folder of results."""

PLAN_VERSION = 1


@dataclass(frozen=True)
class Context:
    """What all units of a sweep have in common: what a worker needs to know, a few hundred bytes.

    Parameters
    ----------
    measure : MeasureSettings
        What is measured; ``data`` is filled in.
    determined : mapping
        Digests of data, files and code that the settings name: with the checkpoints they determine a unit.
    networks : mapping of str to str
        Layout of checkpoints to the fingerprint of their network.
    looks : mapping of str to str
        Alignments that look at examples, to the digest of these.
    entry, map : str, optional
        How checkpoints are opened.
    universe : mapping
        Of the alignment "universe": see :func:`lmc.sweep.universe.describe_universe`.
    """

    measure: MeasureSettings
    determined: Mapping[str, Any]
    networks: Mapping[str, str] = field(default_factory=dict)
    looks: Mapping[str, str] = field(default_factory=dict)
    entry: str | None = None
    map: str | None = None
    universe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The context as JSON: what is sent to workers, and equal where they may go on with what they have opened."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, text: str) -> Context:
        """Return the context that a text was made of."""
        told = json.loads(text)
        measure = parse_sweep({"checkpoints": {"paths": "-"}, "measure": told.pop("measure")}).measure
        return cls(measure, **told)

    def order(self, member: Member) -> dict[str, Any]:
        """Return what determines the common order of a checkpoint's network."""
        order = self.universe["orders"].get(self.networks.get(member.layout))
        return {"method": self.universe["method"], "order": order, "data": self.looks.get(UNIVERSE)}

    def unit(self, a: Member, b: Member, align: str) -> Unit:
        """Return the unit of a pair and an alignment: everything that determines its result."""
        about = {
            **self.determined,
            "module": self.networks.get(a.layout),
            "a": a.digest,
            "b": b.digest,
            "align": align,
            "align_data": self.looks.get(align),
        }
        if align == UNIVERSE:
            about["universe"] = {**self.order(a), "base": self.universe["base"]}
        return Unit("barrier", about)


@dataclass(frozen=True, eq=False)
class Plan:
    """A sweep, as far as it can be told without computing.

    Parameters
    ----------
    settings : SweepSettings
        As read.
    context : Context
        What all units share.
    members : tuple of Member
        The checkpoints, in order.
    pairs : int array, shape (pair, 2)
        Indices of members.
    data_size : int
        Bytes of the examples; 0 where they are streamed.
    """

    settings: SweepSettings
    context: Context
    members: tuple[Member, ...]
    pairs: NDArray[np.int64]
    data_size: int = 0

    @property
    def alignments(self) -> tuple[str, ...]:
        """Alignments, in order."""
        return self.context.measure.align

    @property
    def size(self) -> int:
        """Number of units."""
        return len(self.pairs) * len(self.alignments)

    def ends(self, pair: int) -> tuple[Member, Member]:
        """Return A and B of a pair."""
        i, j = self.pairs[pair].tolist()
        return self.members[i], self.members[j]

    def unit(self, pair: int, align: str) -> Unit:
        """Return one unit."""
        return self.context.unit(*self.ends(pair), align)

    def units(self) -> Iterator[tuple[int, str, Unit]]:
        """Yield number of the pair, alignment and unit, one at a time: nothing grows with their number."""
        for pair in range(len(self.pairs)):
            for align in self.alignments:
                yield pair, align, self.unit(pair, align)

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write the plan into a folder of results, for ``lmc collect``."""
        told = {
            "lmc_plan_version": PLAN_VERSION,
            "settings": asdict(self.settings),
            "context": self.context.text,
            "members": [asdict(member) for member in self.members],
            "pairs": self.pairs.tolist(),
        }
        path = Path(folder) / PLAN
        with replacing(path) as partial:
            partial.write_text(json.dumps(told), encoding="utf-8")
        return path


def read_plan(folder: str | os.PathLike[str]) -> Plan:
    """Read the plan of a folder of results; it is data only.

    Raises
    ------
    SchemaError
        If there is none, it is damaged, or of another version.
    """
    path = Path(folder) / PLAN
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SchemaError(f"{folder} is no folder of results: there is no {PLAN}. lmc sweep writes it.") from error
    except (OSError, ValueError) as error:
        raise SchemaError(f"{path} cannot be read: {error}. The same lmc sweep writes it again.") from error
    version = told.get("lmc_plan_version") if isinstance(told, dict) else None
    if version != PLAN_VERSION:
        raise SchemaError(
            f"{path} is of version {version}, this lmc reads version {PLAN_VERSION}: run its sweep file again with "
            "this lmc, which takes over what is still valid, or collect it with the lmc that wrote it."
        )
    try:
        root = told["settings"].pop("root")
        return Plan(
            parse_sweep(told["settings"], str(path), root=root),
            Context.read(told["context"]),
            tuple(Member(**member) for member in told["members"]),
            np.array(told["pairs"], dtype=np.int64).reshape(-1, 2),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SchemaError(f"{path} is damaged ({error}). The same lmc sweep writes it again.") from error


def make_plan(settings: SweepSettings) -> Plan:
    """Find the checkpoints, the pairs and what determines each unit.

    Parameters
    ----------
    settings : SweepSettings
        As read from a sweep file.

    Returns
    -------
    Plan

    Raises
    ------
    UsageError
        If the sweep makes no sense: an unknown coordinate or alignment, networks of different shape in one pair.
    InputError
        If the data cannot be opened, or no checkpoint can.
    """
    check_settings(settings)
    measure = _located(settings.measure, settings.root)
    methods = methods_of(measure, settings.universe.base)
    opened = read_members(settings.checkpoints, settings.root)
    usable = [checkpoint for _, checkpoint in opened if checkpoint is not None]
    if not usable:
        reasons = "\n".join(f"  {member.error}" for member, _ in opened[:4])
        raise UsageError(f"None of {len(opened)} checkpoints can be read:\n{reasons}")
    data = data_for(usable[0], measure.data, split=measure.split, data_dir=measure.data_dir)
    check_further(measure.also, data.task)
    measure = replace(measure, data=data.reference)
    mapping = None if settings.checkpoints.map is None else _at(settings.root, settings.checkpoints.map)
    members, networks = _networks(opened, measure, mapping, data)
    pairs = choose_pairs(members, settings.pairs)
    check_shapes(members, networks, pairs)
    determined = _determined(measure, mapping, data, settings)
    looking = alignment_data(methods.values(), measure.align_data, data, data_dir=measure.data_dir)
    looks = {} if looking is None else {n: looking.digest for n, one in methods.items() if one.needs == "data"}
    universe = {}
    if UNIVERSE in measure.align:
        default = "frank-wolfe" if settings.universe.method == "cycle-consistent" else "weights"
        base = settings.universe.base or default
        universe = describe_universe(members, networks, settings.universe.method, base)
    context = Context(measure, determined, networks, looks, settings.checkpoints.entry, mapping, universe)
    return Plan(settings, context, members, pairs, data.inputs.nbytes if isinstance(data, Data) else 0)


def methods_of(measure: MeasureSettings, base: str | None) -> dict[str, AbstractAlignment]:
    """Return the method of every alignment that a sweep asks for; of the universe that of its pairs."""
    plain = [name for name in measure.align if name != UNIVERSE]
    found = resolve_alignments(plain, measure.seed) if plain else {}
    if UNIVERSE in measure.align:
        found[UNIVERSE] = load_method(base or "weights", ALIGNMENTS, "alignment", seed=measure.seed)
    return found


def _located(measure: MeasureSettings, root: str) -> MeasureSettings:
    """Return the settings with files looked up from the sweep file's folder."""
    found = {name: getattr(measure, name) for name in ("spec", "data_dir")}
    return replace(measure, **{name: _at(root, value) for name, value in found.items() if value is not None})


def _at(root: str, path: str) -> str:
    return str(Path(root) / Path(path).expanduser())


def _networks(
    opened: list[tuple[Member, Checkpoint | None]], measure: MeasureSettings, mapping: str | None, data: AbstractData
) -> tuple[tuple[Member, ...], dict[str, str]]:
    """Find the network of every layout, once; where there is none, its checkpoints say why."""
    usable = [checkpoint for _, checkpoint in opened if checkpoint is not None]
    names = {} if mapping is None else read_names(mapping, *usable)
    networks: dict[str, str] = {}
    problems: dict[str, str] = {}
    for member, checkpoint in opened:
        if checkpoint is None or member.layout in networks or member.layout in problems:
            continue
        sizes = {"input_shape": data.input_shape, "num_classes": data.num_classes}
        try:
            network = resolve(measure.model, rename(checkpoint, names), **sizes)
            networks[member.layout] = fingerprint(network.module)
        except UsageError:
            raise
        except LmcError as error:
            problems[member.layout] = str(error)
    members = [replace(one, error=one.error or problems.get(one.layout, "")) for one, _ in opened]
    return tuple(members), networks


def _determined(
    measure: MeasureSettings, mapping: str | None, data: AbstractData, settings: SweepSettings
) -> dict[str, Any]:
    """Return digests of everything that the settings name, and the settings themselves."""
    said = ("align", "data", "split", "data_dir", "spec", "align_data", "model", "loss")
    counted = {name: value for name, value in asdict(measure).items() if name not in said}
    needed = measure.recalibrate or measure.repair
    train = open_data(data.reference, "train", measure.data_dir).digest if needed else None
    loss = None if measure.loss is None else fingerprint(import_object(measure.loss, InputError))
    return {
        "settings": counted,
        "data": data.digest,
        "normalization": str(data.normalization),
        "train": train,
        "loss": loss,
        "entry": settings.checkpoints.entry,
        "map": None if mapping is None else fingerprint(Path(mapping).read_bytes()),
        "spec": None if measure.spec is None else fingerprint(Path(measure.spec).read_bytes()),
        "versions": {name: importlib.metadata.version(name) for name in ("lmc", "torch", "numpy", "scipy")},
    }
