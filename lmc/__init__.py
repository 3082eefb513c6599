"""Linear mode connectivity: do networks share a basin once the symmetries of their architecture are removed.

The names below are the public ones. They are loaded when they are first used, so that ``import lmc`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmc._errors import LmcError as LmcError
    from lmc._errors import SymmetryError as SymmetryError
    from lmc.alignment import ActivationMatching as ActivationMatching
    from lmc.alignment import AlignmentResult as AlignmentResult
    from lmc.alignment import FrankWolfe as FrankWolfe
    from lmc.alignment import GromovWasserstein as GromovWasserstein
    from lmc.alignment import Identity as Identity
    from lmc.alignment import ManyAlignment as ManyAlignment
    from lmc.alignment import OptimalTransport as OptimalTransport
    from lmc.alignment import RandomPermutation as RandomPermutation
    from lmc.alignment import SimulatedAnnealing as SimulatedAnnealing
    from lmc.alignment import SinkhornRebasin as SinkhornRebasin
    from lmc.alignment import StraightThrough as StraightThrough
    from lmc.alignment import WeightMatching as WeightMatching
    from lmc.alignment import align as align
    from lmc.alignment import align_many as align_many
    from lmc.architectures import resolve as resolve
    from lmc.barriers import measure_adaptive as measure_adaptive
    from lmc.barriers import measure_barrier as measure_barrier
    from lmc.barriers import measure_basin as measure_basin
    from lmc.checkpoints import Checkpoint as Checkpoint
    from lmc.checkpoints import load as load
    from lmc.checkpoints import save as save
    from lmc.conjectures import conjecture as conjecture
    from lmc.conjectures import instability as instability
    from lmc.datasets import Normalization as Normalization
    from lmc.datasets import as_data as as_data
    from lmc.datasets import open_data as open_data
    from lmc.fusion import AlignThenAverage as AlignThenAverage
    from lmc.fusion import BarycenterAlignment as BarycenterAlignment
    from lmc.fusion import FisherAverage as FisherAverage
    from lmc.fusion import FusionResult as FusionResult
    from lmc.fusion import GromovBarycenterAlignment as GromovBarycenterAlignment
    from lmc.fusion import GromovWassersteinBarycenter as GromovWassersteinBarycenter
    from lmc.fusion import ModelSoup as ModelSoup
    from lmc.fusion import OTFusion as OTFusion
    from lmc.fusion import PredictionEnsemble as PredictionEnsemble
    from lmc.fusion import RegMean as RegMean
    from lmc.fusion import TaskArithmetic as TaskArithmetic
    from lmc.fusion import Ties as Ties
    from lmc.fusion import TransformerFusion as TransformerFusion
    from lmc.fusion import VanillaAverage as VanillaAverage
    from lmc.fusion import WassersteinBarycenter as WassersteinBarycenter
    from lmc.fusion import fuse as fuse
    from lmc.interpolation import BezierPath as BezierPath
    from lmc.interpolation import LinearPath as LinearPath
    from lmc.interpolation import Plane as Plane
    from lmc.interpolation import PolygonalPath as PolygonalPath
    from lmc.interpolation import SphericalPath as SphericalPath
    from lmc.interpolation import move_only as move_only
    from lmc.interpolation import repair as repair
    from lmc.interpolation import reset_batchnorm as reset_batchnorm
    from lmc.interpolation import train_curve as train_curve
    from lmc.pipeline import barrier as barrier
    from lmc.pipeline import basin as basin
    from lmc.pipeline import fusion_plane as fusion_plane
    from lmc.pipeline import fusion_table as fusion_table
    from lmc.pipeline import load_curve as load_curve
    from lmc.pipeline import measure_curve as measure_curve
    from lmc.pipeline import save_curve as save_curve
    from lmc.plotting import plot_adaptive as plot_adaptive
    from lmc.plotting import plot_barrier as plot_barrier
    from lmc.plotting import plot_barrier_matrix as plot_barrier_matrix
    from lmc.plotting import plot_barrier_panels as plot_barrier_panels
    from lmc.plotting import plot_basin as plot_basin
    from lmc.plotting import plot_basin_surface as plot_basin_surface
    from lmc.plotting import plot_coupling as plot_coupling
    from lmc.plotting import plot_examples as plot_examples
    from lmc.plotting import plot_fusion_table as plot_fusion_table
    from lmc.plotting import plot_matching as plot_matching
    from lmc.plotting import plot_scaling as plot_scaling
    from lmc.plotting import plot_verdicts as plot_verdicts
    from lmc.plotting import save_figure as save_figure
    from lmc.report import write_report as write_report
    from lmc.symmetry import PermutationSpec as PermutationSpec
    from lmc.symmetry import find_symmetries as find_symmetries
    from lmc.symmetry import load_permutation as load_permutation
    from lmc.symmetry import save_permutation as save_permutation
    from lmc.training import train as train
    from lmc.training import train_checkpoint as train_checkpoint
    from lmc.units import WorkFolder as WorkFolder

__version__ = "0.1.0"

_HOME = {
    "ActivationMatching": "lmc.alignment",
    "AlignThenAverage": "lmc.fusion",
    "AlignmentResult": "lmc.alignment",
    "BarycenterAlignment": "lmc.fusion",
    "BezierPath": "lmc.interpolation",
    "Checkpoint": "lmc.checkpoints",
    "FisherAverage": "lmc.fusion",
    "FrankWolfe": "lmc.alignment",
    "FusionResult": "lmc.fusion",
    "GromovBarycenterAlignment": "lmc.fusion",
    "GromovWasserstein": "lmc.alignment",
    "GromovWassersteinBarycenter": "lmc.fusion",
    "Identity": "lmc.alignment",
    "LinearPath": "lmc.interpolation",
    "LmcError": "lmc._errors",
    "ManyAlignment": "lmc.alignment",
    "ModelSoup": "lmc.fusion",
    "Normalization": "lmc.datasets",
    "OTFusion": "lmc.fusion",
    "OptimalTransport": "lmc.alignment",
    "PermutationSpec": "lmc.symmetry",
    "Plane": "lmc.interpolation",
    "PolygonalPath": "lmc.interpolation",
    "PredictionEnsemble": "lmc.fusion",
    "RandomPermutation": "lmc.alignment",
    "RegMean": "lmc.fusion",
    "SimulatedAnnealing": "lmc.alignment",
    "SinkhornRebasin": "lmc.alignment",
    "SphericalPath": "lmc.interpolation",
    "StraightThrough": "lmc.alignment",
    "SymmetryError": "lmc._errors",
    "TaskArithmetic": "lmc.fusion",
    "Ties": "lmc.fusion",
    "TransformerFusion": "lmc.fusion",
    "VanillaAverage": "lmc.fusion",
    "WassersteinBarycenter": "lmc.fusion",
    "WeightMatching": "lmc.alignment",
    "WorkFolder": "lmc.units",
    "align": "lmc.alignment",
    "align_many": "lmc.alignment",
    "as_data": "lmc.datasets",
    "barrier": "lmc.pipeline",
    "basin": "lmc.pipeline",
    "conjecture": "lmc.conjectures",
    "find_symmetries": "lmc.symmetry",
    "fuse": "lmc.fusion",
    "fusion_plane": "lmc.pipeline",
    "fusion_table": "lmc.pipeline",
    "instability": "lmc.conjectures",
    "load": "lmc.checkpoints",
    "load_curve": "lmc.pipeline",
    "load_permutation": "lmc.symmetry",
    "measure_adaptive": "lmc.barriers",
    "measure_barrier": "lmc.barriers",
    "measure_basin": "lmc.barriers",
    "measure_curve": "lmc.pipeline",
    "move_only": "lmc.interpolation",
    "open_data": "lmc.datasets",
    "plot_adaptive": "lmc.plotting",
    "plot_barrier": "lmc.plotting",
    "plot_barrier_matrix": "lmc.plotting",
    "plot_barrier_panels": "lmc.plotting",
    "plot_basin": "lmc.plotting",
    "plot_basin_surface": "lmc.plotting",
    "plot_coupling": "lmc.plotting",
    "plot_examples": "lmc.plotting",
    "plot_fusion_table": "lmc.plotting",
    "plot_matching": "lmc.plotting",
    "plot_scaling": "lmc.plotting",
    "plot_verdicts": "lmc.plotting",
    "repair": "lmc.interpolation",
    "reset_batchnorm": "lmc.interpolation",
    "resolve": "lmc.architectures",
    "save": "lmc.checkpoints",
    "save_curve": "lmc.pipeline",
    "save_figure": "lmc.plotting",
    "save_permutation": "lmc.symmetry",
    "train": "lmc.training",
    "train_checkpoint": "lmc.training",
    "train_curve": "lmc.interpolation",
    "write_report": "lmc.report",
}

__all__ = ["__version__", *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Load a public name from the room it lives in."""
    if name not in _HOME:
        raise AttributeError(f"module 'lmc' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
