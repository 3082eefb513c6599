"""The barrier against the learning rate, as in Ferbach; measured by analyses/23_dimension.py."""

from common import result, save

from lmc.plotting import plot_scaling

save(plot_scaling(result("23_dimension")).figure, "learning-rate")
