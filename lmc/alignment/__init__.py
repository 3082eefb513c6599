"""Alignment of one network to another: one verb, one method a file."""

from lmc.alignment.activation_matching import ActivationMatching as ActivationMatching
from lmc.alignment.align import align as align
from lmc.alignment.base import AbstractAlignment as AbstractAlignment
from lmc.alignment.coupling import Coupling as Coupling
from lmc.alignment.gromov_wasserstein import GromovWasserstein as GromovWasserstein
from lmc.alignment.identity import Identity as Identity
from lmc.alignment.optimal_transport import OptimalTransport as OptimalTransport
from lmc.alignment.random import RandomPermutation as RandomPermutation
from lmc.alignment.result import AlignmentResult as AlignmentResult
from lmc.alignment.weight_matching import WeightMatching as WeightMatching
