"""From a path to a labelled barrier: grids, scalars, intervals, and the measurement itself."""

from lmc.barriers.adaptive import check_adaptive as check_adaptive
from lmc.barriers.adaptive import measure_adaptive as measure_adaptive
from lmc.barriers.basin import measure_basin as measure_basin
from lmc.barriers.grid import check_grid as check_grid
from lmc.barriers.grid import make_grid as make_grid
from lmc.barriers.intervals import barrier_interval as barrier_interval
from lmc.barriers.intervals import bootstrap_means as bootstrap_means
from lmc.barriers.intervals import percentile_interval as percentile_interval
from lmc.barriers.measure import measure_barrier as measure_barrier
from lmc.barriers.nodes import node_bootstrap as node_bootstrap
from lmc.barriers.nodes import node_interval as node_interval
from lmc.barriers.plane_grid import make_plane_grid as make_plane_grid
from lmc.barriers.scalars import area_above_chord as area_above_chord
from lmc.barriers.scalars import chord_barrier as chord_barrier
from lmc.barriers.scalars import mean_barrier as mean_barrier
from lmc.barriers.scalars import rises as rises
from lmc.barriers.sublevel import components as components
from lmc.barriers.sublevel import escape_height as escape_height
from lmc.barriers.sublevel import saddle_heights as saddle_heights
