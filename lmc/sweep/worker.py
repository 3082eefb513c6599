"""What a worker does: units one after the other, with all that they share opened once."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr

from lmc._errors import CheckpointError, InputError, LmcError
from lmc._imports import import_object
from lmc._types import Permutation
from lmc.alignment import AbstractAlignment, Identity
from lmc.architectures import Architecture, resolve
from lmc.checkpoints import check_usable, load
from lmc.datasets import AbstractData, open_data
from lmc.pipeline import Model, Proof, alignment_data, barrier, fitted, read_names, rename
from lmc.sweep.cache import LimitedCache
from lmc.sweep.journal import Journal
from lmc.sweep.members import Member
from lmc.sweep.plan import Context, Plan, methods_of, read_plan
from lmc.sweep.rows import as_row
from lmc.sweep.settings import UNIVERSE
from lmc.sweep.shared_proof import shared_proof
from lmc.sweep.tasks import Batch, Outcome, Task
from lmc.sweep.universe import all_orders, to_pivot
from lmc.units import WorkFolder

_ROOM = 2**18
"""Bytes that must be free on the disk of the results before a unit is begun, beside the values of its examples."""


def run_batch(batch: Batch) -> list[Outcome]:
    """Do a batch of units in this process; what was opened for them is kept for the next batch of the same sweep."""
    return list(outcomes_of(batch))


def outcomes_of(batch: Batch) -> Iterator[Outcome]:
    """Do a batch of units, and tell of each when it is done."""
    worker = _worker(batch.context, batch.folder, batch.memory, batch.points)
    return (worker.run(task, batch.retry) for task in batch.tasks)


@functools.lru_cache(maxsize=1)  # of the whole process: a worker of a pool or of dask ends with it
def _worker(context: str, folder: str, memory: int, points: int) -> Worker:
    return Worker(Context.read(context), folder, memory, points)


class Worker:
    """Does units of one sweep, and keeps open what they share: data, networks, symmetries, checkpoints.

    Parameters
    ----------
    context : Context
        What the units share.
    folder : str
        Of results.
    memory : int
        Bytes that loaded checkpoints may take; those that were not used for longest are dropped.
    points : int
        Bytes that positions of a path may take.
    """

    def __init__(self, context: Context, folder: str, memory: int, points: int = 2**30) -> None:
        self.context = context
        self._points = points
        self._told: list[str] = []
        light = not context.measure.keep_examples
        self.folder = WorkFolder(folder, self._told.append, light=light).open()
        self.journal = Journal(folder)
        self._states = LimitedCache(memory)
        self._networks: dict[str, Architecture] = {}
        self._proofs: dict[str, Proof] = {}

    def close(self) -> None:
        """Leave the folder of results."""
        self.folder.close()

    def run(self, task: Task, retry: bool = True) -> Outcome:
        """Do one unit; whatever goes wrong is told in the outcome and recorded beside the units."""
        unit = self.context.unit(task.a, task.b, task.align)
        start = time.perf_counter()
        self._told.clear()

        def compute() -> xr.Dataset:
            self.journal.note("begin", unit.filename)
            return self._measure(task)

        try:
            state = self.folder.attempt(unit, compute, retry=retry)
        except (LmcError, OSError) as error:
            self.journal.note("failed", unit.filename)
            return Outcome(task, "failed", time.perf_counter() - start, say(error))
        except Exception as error:  # a bug, or the user's own code: its traceback is in the folder
            self.journal.note("failed", unit.filename)
            return Outcome(task, "failed", time.perf_counter() - start, f"{type(error).__name__}: {say(error)}")
        seconds = time.perf_counter() - start
        if state == "computed":
            self.journal.note("done", unit.filename, seconds)
        return Outcome(task, state, seconds, "; ".join(self._told))

    def _measure(self, task: Task) -> xr.Dataset:
        self._check_room()
        measure = self.context.measure
        method, universe = self._methods[task.align], task.align == UNIVERSE
        a, b = (self._moved(one) if universe else self._model(one) for one in (task.a, task.b))
        network = a.architecture
        plain = universe or isinstance(method, Identity)
        result = barrier(
            network.module,
            a.state,
            b.state,
            self._data,
            align=["none" if universe else task.align],
            align_data=self._align_data if method.needs == "data" and not universe else None,
            proof=None if plain else self._proof(task.a.layout, network),
            seed=measure.seed,
            attrs=self._attrs(task, network),
            points=measure.points,
            loss=self._loss,
            recalibrate=self._train if measure.recalibrate else None,
            repair=self._train if measure.repair else None,
            confidence=measure.confidence,
            also=list(measure.also),
            device=measure.device,
            dtype=getattr(torch, measure.dtype),
            memory=self._points,
        )
        if universe:
            result = self._as_universe(result, task.a)
        return result if measure.keep_examples else as_row(result, task.a.name, task.b.name)

    def _as_universe(self, result: xr.Dataset, member: Member) -> xr.Dataset:
        told = self.context.universe
        pivot = told["pivots"][self.context.networks[member.layout]]
        result = result.assign_coords(alignment=("alignment", [UNIVERSE], result.alignment.attrs))
        message = f"both in one order ({told['method']} by {told['base']}, pivot {pivot})"
        labels = result.alignment_message.attrs
        return result.assign(alignment_message=("alignment", np.array([message]), labels))

    def _moved(self, member: Member) -> Model:
        """Return a checkpoint in the common order of its network."""

        def make() -> tuple[Model, int]:
            model = self._model(member)
            spec = self._proof(member.layout, model.architecture).spec
            state = spec.apply(model.state, self._order(member, model))
            size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
            return Model(model.checkpoint, model.architecture, state, model.renamed), size

        return self._states.get((UNIVERSE, member.digest), make)

    def _order(self, member: Member, model: Model) -> Permutation:
        network = self.context.networks[member.layout]
        proof = self._proof(member.layout, model.architecture)
        about = {"module": network, "seed": self.context.measure.seed, **self.context.order(member)}
        about["base"] = self.context.universe["base"]
        method = self._methods[UNIVERSE]
        seen = {"data": self._align_data if method.needs == "data" else None, "module": model.architecture.module}
        if self.context.universe["method"] == "pivot":
            pivot = self._members(network)[0]
            if pivot.digest == member.digest:
                return proof.spec.identity()
            about["member"] = member.digest
            return to_pivot(
                self.folder, about, lambda: self._model(pivot).state, model.state, proof, {"method": method, **seen}
            )
        members = self._members(network)
        told = {"method": self.context.universe["method"], "base": self.context.universe["base"]}
        orders = all_orders(
            self.folder, about, lambda: [self._model(one).state for one in members], proof, {**told, **seen}
        )
        return orders[[one.digest for one in members].index(member.digest)]

    def _members(self, network: str) -> list[Member]:
        """Return the usable checkpoints of a network, in the order of the plan."""
        plan = self._plan
        if plan.context.text != self.context.text:
            raise InputError(f"{self.folder.path.name} has the plan of another sweep by now. Start this one again.")
        return [one for one in plan.members if not one.error and plan.context.networks.get(one.layout) == network]

    def preload(self, members: Sequence[Member]) -> int:
        """Load checkpoints ahead of their units; returns how many were not there."""
        missing = [one for one in members if one.digest not in self._states]
        for one in missing:
            self._model(one)
        return len(missing)

    def preorder(self, members: Sequence[Member]) -> int:
        """Bring checkpoints into the common order ahead of their units; returns how many were not there."""
        missing = [one for one in members if (UNIVERSE, one.digest) not in self._states]
        for one in missing:
            self._moved(one)
        return len(missing)

    @cached_property
    def _plan(self) -> Plan:
        return read_plan(self.folder.path)

    def _attrs(self, task: Task, network: Architecture) -> dict[str, Any]:
        asked = asdict(self.context.measure) | {"align": task.align}
        found: dict[str, Any] = {"model": network.reference, "sweep": asked}
        for end, member in (("a", task.a), ("b", task.b)):
            found |= {f"{end}_source": member.path, f"{end}_sha256": member.digest}
        return found

    def _check_room(self) -> None:
        """Refuse before hours of work what could not be written after them."""
        size = self._data.size or 0
        needed = _ROOM + (8 * self.context.measure.points * size if self.context.measure.keep_examples else 0)
        free = shutil.disk_usage(self.folder.path).free
        if free < needed:
            raise InputError(
                f"The disk of {self.folder.path.name} is full: {free:,} bytes are free, a unit takes up to {needed:,}. "
                "Make room, then run the same sweep with --retry-failed."
            )

    @cached_property
    def _methods(self) -> dict[str, AbstractAlignment]:
        return methods_of(self.context.measure, self.context.universe.get("base"))

    @cached_property
    def _data(self) -> AbstractData:
        measure = self.context.measure
        found = open_data(str(measure.data), measure.split, measure.data_dir)
        if found.digest != self.context.determined["data"]:
            raise InputError(f"The data {measure.data} changed since the sweep was planned. Start it again.")
        return found

    @cached_property
    def _train(self) -> AbstractData:
        return open_data(self._data.reference, "train", self.context.measure.data_dir)

    @cached_property
    def _align_data(self) -> AbstractData | None:
        measure = self.context.measure
        return alignment_data(self._methods.values(), measure.align_data, self._data, data_dir=measure.data_dir)

    @cached_property
    def _loss(self) -> Any:
        loss = self.context.measure.loss
        return None if loss is None else import_object(loss, InputError)

    def _proof(self, layout: str, network: Architecture) -> Proof:
        key = self.context.networks[layout]
        if key not in self._proofs:
            measure = self.context.measure
            self._proofs[key] = shared_proof(self.folder, key, network, written=measure.spec, seed=measure.seed)
        return self._proofs[key]

    def _model(self, member: Member) -> Model:
        """Return a checkpoint in memory, read again where it was dropped."""
        return self._states.get(member.digest, lambda: self._load(member))

    def _load(self, member: Member) -> tuple[Model, int]:
        """Read a checkpoint into memory, and prove that what was read is what the sweep was planned with."""
        if member.error:
            raise CheckpointError(member.error)
        found = load(member.path, entry=self.context.entry)
        self._check_same(member, found.digest)
        check_usable(found)
        names = {} if self.context.map is None else read_names(self.context.map, found)
        given = rename(found, names)
        if member.layout not in self._networks:
            sizes = {"input_shape": self._data.input_shape, "num_classes": self._data.num_classes}
            self._networks[member.layout] = resolve(self.context.measure.model, given, **sizes)
        model = fitted(found, given, self._networks[member.layout])
        # Files are mapped: copied out, the values stay what they are whatever becomes of the file, and it is
        # digested once more for the case that it was written into while it was read.
        state = {name: tensor.clone() for name, tensor in model.state.items()}
        self._check_same(member, load(member.path, entry=self.context.entry).digest)
        size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
        return Model(found, model.architecture, state, model.renamed), size

    def _check_same(self, member: Member, digest: str) -> None:
        if digest != member.digest:
            raise CheckpointError(
                f"{member.path} was replaced since the sweep was planned: its SHA-256 was {member.digest[:12]}..., now "
                f"it is {digest[:12]}.... Run the same sweep again, which reads all checkpoints anew."
            )


def say(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
