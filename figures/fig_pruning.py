"""The barrier along iterative magnitude pruning, as in Sharma; measured by analyses/25_pruning.py."""

from common import result, save

from lmc.plotting import plot_scaling

save(plot_scaling(result("25_pruning"), x="density", variable="loss_barrier", log="x").figure, "pruning")
