"""What a sweep will cost, told from a few units that are measured: time, and memory of each worker."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmc._errors import InputError
from lmc.sweep.plan import Plan
from lmc.sweep.settings import UNIVERSE
from lmc.sweep.tasks import Task
from lmc.sweep.worker import Worker

_MEASURED = 3


@dataclass(frozen=True)
class Cost:
    """What parts of a sweep take, in seconds of one worker.

    Parameters
    ----------
    start : float
        Opening data, and finding and proving the symmetries of every network.
    load : float
        Reading a checkpoint, on average.
    units : dict of (str, str) to float
        A unit, loaded checkpoints given, for each network and alignment.
    order : float
        Bringing a checkpoint into the common order, where there is one.
    memory : int
        Bytes that the measuring process took at its greatest.
    """

    start: float
    load: float
    units: dict[tuple[str, str], float]
    order: float
    memory: int

    def seconds(self, plan: Plan, workers: int = 1) -> float:
        """Return how long the units of a plan take."""
        counts = count_units(plan)
        work = sum(count * self.units.get(key, 0.0) for key, count in counts.items())
        used = len({int(k) for k in plan.pairs.ravel().tolist()})
        return self.start + (work + used * (self.load + self.order)) / max(workers, 1)


def count_units(plan: Plan) -> Counter[tuple[str, str]]:
    """Return the number of units of each network and alignment."""
    networks = [plan.context.networks.get(member.layout, "") for member in plan.members]
    pairs = Counter(networks[i] for i in plan.pairs[:, 0].tolist())
    return Counter({(network, align): count for network, count in pairs.items() for align in plan.alignments})


def measure_cost(plan: Plan, units: int = _MEASURED, clock: Callable[[], float] = time.perf_counter) -> Cost:
    """Measure a few units of each network and alignment, in a folder that is thrown away.

    Parameters
    ----------
    plan : Plan
        What will be done.
    units : int
        How many of each are averaged, after one that warms up.
    clock : callable
        Gives seconds; ``time.process_time`` on a machine that does other things.

    Raises
    ------
    InputError
        If a unit fails: so would all of its kind.
    """
    with tempfile.TemporaryDirectory() as place:
        plan.write(place)
        worker = Worker(plan.context, place, 2**30)
        try:
            return _measured(plan, worker, units, clock)
        finally:
            worker.close()


def _measured(plan: Plan, worker: Worker, units: int, clock: Callable[[], float]) -> Cost:
    start = clock()
    examples = _examples(plan, units + 1)
    found: dict[tuple[str, str], float] = {}
    warm = load = order = 0.0
    loaded = ordered = 0
    for (network, align), pairs in examples.items():
        for number, pair in enumerate(pairs):
            a, b = plan.ends(pair)
            before = clock()
            fresh = worker.preload([a, b])
            middle = clock()
            moved = worker.preorder([a, b]) if align == UNIVERSE else 0
            after = clock()
            outcome = worker.run(Task(pair, a, b, align))
            ended = clock()
            if outcome.state == "failed":
                raise InputError(f"A unit that was tried, {a.name} - {b.name}, {align}, fails: {outcome.message}")
            if number or len(pairs) == 1:
                found[network, align] = found.get((network, align), 0.0) + (ended - after) / max(1, len(pairs) - 1)
                load, loaded = load + middle - before, loaded + fresh
                order, ordered = order + after - middle, ordered + moved
    total = clock() - start
    work = sum(found[key] * max(1, len(pairs) - 1) for key, pairs in examples.items())
    warm = max(0.0, total - work - load - order)
    scale = 1 if sys.platform == "darwin" else 1024
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    return Cost(warm, load / max(1, loaded), found, order / max(1, ordered), memory)


def _examples(plan: Plan, count: int) -> dict[tuple[str, str], list[int]]:
    """Return the first few usable pairs of each network and alignment."""
    found: dict[tuple[str, str], list[int]] = {}
    for pair in range(len(plan.pairs)):
        a, b = plan.ends(pair)
        if a.error or b.error:
            continue
        key = plan.context.networks[a.layout]
        for align in plan.alignments:
            pairs = found.setdefault((key, align), [])
            if len(pairs) < count:
                pairs.append(pair)
    return found


def units_there(plan: Plan, folder: Path) -> int:
    """Return how many units have a file already."""
    return sum((folder / unit.filename).exists() for _, _, unit in plan.units()) if folder.is_dir() else 0
