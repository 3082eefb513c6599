"""The barrier against depth, as in Entezari; measured by analyses/20_width_depth.py."""

from common import result, save

from lmc.plotting import plot_scaling

study = result("20_width_depth").sel(measured_on="test")
save(plot_scaling(study, variable="depth_error_barrier").figure, "20_depth")
