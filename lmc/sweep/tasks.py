"""What travels between the driver and its workers: paths and settings one way, a few words the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lmc.sweep.members import Member

State = Literal["computed", "found", "busy", "failed before", "failed", "died"]


@dataclass(frozen=True)
class Task:
    """One unit: the number of its pair, the two checkpoints, the alignment."""

    pair: int
    a: Member
    b: Member
    align: str


@dataclass(frozen=True)
class Batch:
    """Units that are done one after the other in one process.

    Parameters
    ----------
    context : str
        What they share, as :attr:`Context.text`.
    folder : str
        Of results.
    tasks : sequence of Task
        The units.
    retry : bool
        Whether units that failed before are tried again.
    memory : int
        Bytes that the worker may keep loaded checkpoints in.
    points : int
        Bytes that it may hold positions of a path in.
    """

    context: str
    folder: str
    tasks: Sequence[Task]
    retry: bool = True
    memory: int = 2**30
    points: int = 2**30


@dataclass(frozen=True)
class Outcome:
    """What became of a unit.

    Parameters
    ----------
    task : Task
        The unit.
    state : str
        ``computed``, ``found`` (it was there), ``busy`` (another process is at it), ``failed``, ``failed before``, or
        ``died`` (its process did, more than once).
    seconds : float
        Time it took.
    message : str
        Why it failed; or that a damaged file was found.
    """

    task: Task
    state: State
    seconds: float = 0.0
    message: str = ""
