"""The permutation conjecture as a calibrated test over a set of checkpoints."""

from lmc.conjecture.conjecture import LADDER as LADDER
from lmc.conjecture.conjecture import conjecture as conjecture
from lmc.conjecture.verdicts import Verdict as Verdict
