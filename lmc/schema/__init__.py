"""Names, dims, units and attributes of every result dataset, one kind a file. docs/schema.md is the prose."""

from lmc.schema.adaptive import ADAPTIVE as ADAPTIVE
from lmc.schema.alignment import ALIGNMENT as ALIGNMENT
from lmc.schema.attrs import check_attrs as check_attrs
from lmc.schema.attrs import sanitize_attrs as sanitize_attrs
from lmc.schema.barrier import BARRIER as BARRIER
from lmc.schema.basin import BASIN as BASIN
from lmc.schema.checks import KINDS as KINDS
from lmc.schema.checks import SCHEMA_VERSION as SCHEMA_VERSION
from lmc.schema.checks import annotate as annotate
from lmc.schema.checks import validate as validate
from lmc.schema.conjecture import CONJECTURE as CONJECTURE
from lmc.schema.files import read as read
from lmc.schema.files import write as write
from lmc.schema.fusion import FUSION as FUSION
from lmc.schema.fusion import ROLES as ROLES
from lmc.schema.study import OUTCOMES as OUTCOMES
from lmc.schema.study import STUDY as STUDY
from lmc.schema.sweep import SWEEP as SWEEP
from lmc.schema.variable import BASELINES as BASELINES
from lmc.schema.variable import BOUNDS as BOUNDS
from lmc.schema.variable import COMPARISONS as COMPARISONS
from lmc.schema.variable import ENDS as ENDS
from lmc.schema.variable import Variable as Variable
