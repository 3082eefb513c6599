"""The permutation conjecture as a calibrated test over a set of checkpoints."""

from lmc.conjecture.conjecture import LADDER as LADDER
from lmc.conjecture.conjecture import conjecture as conjecture
from lmc.conjecture.instability import instability as instability
from lmc.conjecture.instability import stable_from as stable_from
from lmc.conjecture.verdicts import Verdict as Verdict
