"""The barrier against width, as in Git Re-Basin and Entezari; measured by analyses/20_width_depth.py."""

from common import result, save

from lmc.plotting import plot_scaling

study = result("20_width_depth").sel(measured_on="test")
save(plot_scaling(study, variable="width_loss_barrier").figure, "20_width")
