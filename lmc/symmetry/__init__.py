"""Permutation symmetries of any architecture: found in its exported graph, applied to weights, proved at run time."""

from lmc.symmetry.find import find_symmetries as find_symmetries
from lmc.symmetry.spec import Axis as Axis
from lmc.symmetry.spec import PermutationGroup as PermutationGroup
from lmc.symmetry.spec import PermutationSpec as PermutationSpec
from lmc.symmetry.storage import load_permutation as load_permutation
from lmc.symmetry.storage import save_permutation as save_permutation
from lmc.symmetry.verify import Verification as Verification
from lmc.symmetry.verify import verify as verify
from lmc.symmetry.written import read_spec as read_spec
from lmc.symmetry.written import write_form as write_form
from lmc.symmetry.written import write_spec as write_spec
