"""The permutation conjecture as a calibrated test over a set of checkpoints."""

from lmc.conjectures.conjecture import LADDER as LADDER
from lmc.conjectures.conjecture import conjecture as conjecture
from lmc.conjectures.exhaustive import every_permutation as every_permutation
from lmc.conjectures.instability import instability as instability
from lmc.conjectures.instability import stable_from as stable_from
from lmc.conjectures.verdicts import Verdict as Verdict
