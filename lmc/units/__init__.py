"""Work units: one netCDF each, named by everything that determines it, so that no work is done twice or half."""

from lmc.units.claims import Claim as Claim
from lmc.units.classic import read_classic as read_classic
from lmc.units.classic import write_classic as write_classic
from lmc.units.fingerprint import code_digest as code_digest
from lmc.units.fingerprint import fingerprint as fingerprint
from lmc.units.folder import WorkFolder as WorkFolder
from lmc.units.folder import is_result_of as is_result_of
from lmc.units.folder import stamped as stamped
from lmc.units.stopping import Terminated as Terminated
from lmc.units.stopping import terminable as terminable
from lmc.units.unit import Unit as Unit
