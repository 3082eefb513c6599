"""The main job as one call: two state dicts and data in, aligned, measured and labelled out."""

from lmc.pipeline.compare import barrier as barrier
from lmc.pipeline.compare import resolve_alignments as resolve_alignments
from lmc.pipeline.curves import load_curve as load_curve
from lmc.pipeline.curves import measure_curve as measure_curve
from lmc.pipeline.curves import require_ends as require_ends
from lmc.pipeline.curves import save_curve as save_curve
from lmc.pipeline.pair import Model as Model
from lmc.pipeline.pair import Pair as Pair
from lmc.pipeline.pair import data_for as data_for
from lmc.pipeline.pair import load_model as load_model
from lmc.pipeline.pair import load_pair as load_pair
from lmc.pipeline.pair import read_names as read_names
from lmc.pipeline.pair import rename as rename
from lmc.pipeline.prove import Proof as Proof
from lmc.pipeline.prove import found_or_written as found_or_written
from lmc.pipeline.prove import prove as prove
from lmc.pipeline.units import BarrierTask as BarrierTask
from lmc.pipeline.units import barrier_unit as barrier_unit
