"""Alignment of one network to another: one verb, one method a file."""

from lmc.alignment.activation_matching import ActivationMatching as ActivationMatching
from lmc.alignment.align import align as align
from lmc.alignment.annealing import SimulatedAnnealing as SimulatedAnnealing
from lmc.alignment.base import AbstractAlignment as AbstractAlignment
from lmc.alignment.composition import Composition as Composition
from lmc.alignment.coupling import Coupling as Coupling
from lmc.alignment.frank_wolfe import FrankWolfe as FrankWolfe
from lmc.alignment.gromov_wasserstein import GromovWasserstein as GromovWasserstein
from lmc.alignment.identity import Identity as Identity
from lmc.alignment.many import ManyAlignment as ManyAlignment
from lmc.alignment.many import align_many as align_many
from lmc.alignment.optimal_transport import OptimalTransport as OptimalTransport
from lmc.alignment.random import RandomPermutation as RandomPermutation
from lmc.alignment.result import AlignmentResult as AlignmentResult
from lmc.alignment.sinkhorn import SinkhornRebasin as SinkhornRebasin
from lmc.alignment.ste import StraightThrough as StraightThrough
from lmc.alignment.weight_matching import WeightMatching as WeightMatching
