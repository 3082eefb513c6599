"""What the studies share: MNIST's first images, parts that are kept as they are done, claims, one result file."""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.metadata
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import stdtrit

import lmc
from lmc import schema
from lmc.barriers import node_interval
from lmc.units import Unit

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Claim:
    """A number that decides whether something that the literature says shows here."""

    name: str
    value: float
    interval: ArrayLike
    unit: str
    literature: str
    holds: bool
    fails: bool = False

    @property
    def outcome(self) -> str:
        """Which of the three it is."""
        return schema.OUTCOMES[0] if self.holds else schema.OUTCOMES[1] if self.fails else schema.OUTCOMES[2]


class Study:
    """One study: where its parts are kept while it runs, and the file that it writes.

    Parts lie in ``out/studies/NAME`` (``--work`` names another folder) and are found again when it is run again; to a
    part belong its settings, the source of the function that makes it and the constants that this names; after other
    changes, ``--fresh``.
    """

    def __init__(self, file: str, question: str) -> None:
        self.name = Path(file).stem
        parser = argparse.ArgumentParser(description=question)
        parser.add_argument("--work", type=Path, default=ROOT / "out" / "studies" / self.name)
        parser.add_argument("--output", type=Path, default=ROOT / "data" / f"{self.name}.nc")
        parser.add_argument("--fresh", action="store_true", help="forget the parts of earlier runs")
        given = parser.parse_args()
        self._question, self._output = question, given.output
        self._folder = lmc.WorkFolder(given.work, tell=print).open(fresh=given.fresh)
        # Read once: the file may be edited while it runs.
        text = Path(file).read_text(encoding="utf-8")
        functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
        self._functions = {node.name: ast.get_source_segment(text, node) or "" for node in functions}
        self._settings: dict[str, Any] = {}
        # Processor time: of parts made inside others, and of every part by itself, parts inside it as well.
        self._inner, self._spent = 0.0, dict[str, float]()
        torch.set_num_threads(1)  # the same numbers on every machine, and several studies side by side

    def data(self, train: int, test: int, name: str = "mnist") -> tuple[Any, Any]:
        """Return the first images of both splits; leaves with a message where there are none."""
        try:
            opened = [lmc.open_data(f"{name}?limit={n}", split) for n, split in ((train, "train"), (test, "test"))]
        except lmc.LmcError as error:
            print(f"{self.name}: skipped, it needs {name} (LMC_DATA_DIR names the folder): {error}")
            sys.exit(0)
        told = f"{name}: first {train} training, first {test} test images"
        self._settings["data"] = "; ".join(filter(None, [self._settings.get("data"), told]))
        return opened[0], opened[1]

    def part(self, make: Callable[..., Mapping[str, Any]], **settings: Any) -> dict[str, np.ndarray]:
        """Return ``make(**settings)`` as arrays, from the folder where it was made before."""
        source = hashlib.sha256(self._functions[make.__name__].encode()).hexdigest()
        named = {name: make.__globals__.get(name) for name in make.__code__.co_names if name.isupper()}
        about = {"study": self.name, "made by": source, "constants": plain(named), "torch": torch.__version__}
        about |= {**self._settings, **settings}
        unit = Unit(make.__name__, about)
        start = time.perf_counter()

        def compute() -> xr.Dataset:
            outer, begun, inner = self._spent, time.process_time(), self._inner
            self._spent = {}
            try:
                made = {key: np.asarray(value) for key, value in make(**settings).items()}
                whole = time.process_time() - begun
                spent = {**self._spent, unit.digest: whole - (self._inner - inner)}
            finally:  # a study that is interrupted writes what it has, with the time that it took
                self._spent = outer
            self._inner = inner + whole
            arrays = {key: ([f"{key} {i}" for i in range(x.ndim)], x) for key, x in made.items()}
            return xr.Dataset(arrays, attrs={"cpu_seconds": json.dumps(spent)})

        (found,) = self._folder.run([(unit, compute)])
        self._spent |= json.loads(found.attrs["cpu_seconds"]) if "cpu_seconds" in found.attrs else {unit.digest: np.nan}
        if (took := time.perf_counter() - start) > 1:
            print(f"  {make.__name__} {settings}: {took:.0f} s", flush=True)
        return {str(key): value.values for key, value in found.data_vars.items()}

    def write(self, variables: Mapping[str, tuple], claims: Sequence[Claim], **settings: Any) -> xr.Dataset:
        """Write the result: variables are (dims, values, long_name, units), coordinates (dim, values)."""
        coords = {name: given for name, given in variables.items() if given[0] == name}
        dataset = xr.Dataset(
            {
                name: (given[0], np.asarray(given[1]), {"long_name": given[2], "units": given[3]})
                for name, given in variables.items()
                if name not in coords
            },
            {name: (name, np.asarray(given[1]), _label(name)) for name, given in coords.items()},
        ).assign_coords(claim=[claim.name for claim in claims], bound=list(schema.BOUNDS))
        dataset = dataset.assign(
            estimate=("claim", [claim.value for claim in claims]),
            estimate_ci=(("claim", "bound"), [np.asarray(claim.interval, dtype=float) for claim in claims]),
            claim_unit=("claim", [claim.unit for claim in claims]),
            literature=("claim", [claim.literature for claim in claims]),
            outcome=("claim", [claim.outcome for claim in claims]),
        )
        attrs = {
            "study": self._question,
            **self._settings,
            "settings": settings,
            "cpu_seconds": sum(self._spent.values()),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy", "xarray")},
            "command": f"python analyses/{self.name}.py",
        }
        dataset = schema.annotate(dataset, "study", attrs)
        schema.write(dataset, self._output)
        for claim in claims:
            low, high = np.asarray(claim.interval, dtype=float)
            print(f"{claim.outcome:<15}{claim.name}: {claim.value:.4g} [{low:.4g}, {high:.4g}] {claim.unit}")
        size = self._output.stat().st_size / 1000
        print(f"wrote {self._output}, {size:.0f} kB; its parts took {attrs['cpu_seconds']:.0f} s of one processor")
        self._folder.close()
        return dataset


def _label(name: str) -> dict[str, str]:
    return {} if name in schema.STUDY else {"long_name": name.replace("_", " "), "units": "1"}


def network(reference: str, data: Any, seed: int) -> Any:
    """Return a network of the data's sizes with initial weights of a seed."""
    return lmc.resolve(reference, input_shape=data.input_shape, num_classes=data.num_classes, seed=seed)


def flat(states: Mapping[Any, Mapping[str, torch.Tensor]]) -> dict[str, np.ndarray]:
    """Return several state dicts as arrays that a part can hold."""
    return {f"{when}:{key}": tensor.numpy() for when, state in states.items() for key, tensor in state.items()}


def unflat(arrays: Mapping[str, np.ndarray], when: Any) -> dict[str, torch.Tensor]:
    """Return one of these state dicts."""
    return {key.split(":", 1)[1]: torch.tensor(x) for key, x in arrays.items() if key.split(":", 1)[0] == str(when)}


def pairs_of(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """Return all pairs of runs."""
    return list(itertools.combinations(seeds, 2))


def mean_over_pairs(values: ArrayLike, pairs: Sequence[tuple[int, int]]) -> tuple[float, np.ndarray]:
    """Return the mean of one value for each pair, and its interval over the draw of the models."""
    return float(np.mean(values)), node_interval(values, pairs)


def mean_over_runs(values: ArrayLike) -> tuple[float, np.ndarray]:
    """Return the mean of values of independent runs, and Student's interval for it."""
    values = np.asarray(values, dtype=np.float64)
    room = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), values.mean() + np.array([-room, room])


def plain(value: Any) -> Any:
    """Return what JSON takes."""
    return json.loads(json.dumps(value, default=str))
