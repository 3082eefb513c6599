"""From a path to a labelled barrier: grids, scalars, intervals, and the measurement itself."""

from lmc.barriers.closeness import activation_closeness as activation_closeness
from lmc.barriers.distance import weight_distance as weight_distance
from lmc.barriers.further import FURTHER as FURTHER
from lmc.barriers.further import check_further as check_further
from lmc.barriers.grid import check_grid as check_grid
from lmc.barriers.grid import make_grid as make_grid
from lmc.barriers.intervals import barrier_interval as barrier_interval
from lmc.barriers.intervals import bootstrap_means as bootstrap_means
from lmc.barriers.intervals import percentile_interval as percentile_interval
from lmc.barriers.measure import measure_barrier as measure_barrier
from lmc.barriers.quantities import broken_share as broken_share
from lmc.barriers.quantities import class_barriers as class_barriers
from lmc.barriers.quantities import end_curvature as end_curvature
from lmc.barriers.quantities import example_barrier as example_barrier
from lmc.barriers.scalars import area_above_chord as area_above_chord
from lmc.barriers.scalars import chord_barrier as chord_barrier
from lmc.barriers.scalars import mean_barrier as mean_barrier
from lmc.barriers.setting import Setting as Setting
from lmc.barriers.sharpness import hessian_sharpness as hessian_sharpness
