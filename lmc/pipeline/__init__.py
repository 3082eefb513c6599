"""The main job as one call: two state dicts and data in, aligned, measured and labelled out."""

from lmc.pipeline.align_data import alignment_data as alignment_data
from lmc.pipeline.alignment_dataset import alignment_dataset as alignment_dataset
from lmc.pipeline.compare import barrier as barrier
from lmc.pipeline.compare import resolve_alignments as resolve_alignments
from lmc.pipeline.curve_files import between as between
from lmc.pipeline.curve_files import load_curve as load_curve
from lmc.pipeline.curve_files import save_curve as save_curve
from lmc.pipeline.curves import measure_curve as measure_curve
from lmc.pipeline.pair import Model as Model
from lmc.pipeline.pair import Pair as Pair
from lmc.pipeline.pair import data_for as data_for
from lmc.pipeline.pair import load_model as load_model
from lmc.pipeline.pair import load_pair as load_pair
from lmc.pipeline.pair import read_names as read_names
from lmc.pipeline.pair import rename as rename
from lmc.pipeline.planes import ALIGNED as ALIGNED
from lmc.pipeline.planes import basin as basin
from lmc.pipeline.prove import Proof as Proof
from lmc.pipeline.prove import found_or_written as found_or_written
from lmc.pipeline.prove import prove as prove
from lmc.pipeline.routes import ROUTES as ROUTES
from lmc.pipeline.routes import Route as Route
from lmc.pipeline.routes import open_via as open_via
from lmc.pipeline.units import BarrierTask as BarrierTask
from lmc.pipeline.units import barrier_unit as barrier_unit
