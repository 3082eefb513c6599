"""The barrier along iterative pruning; measured by analyses/25_pruning.py."""

from common import result, save

from lmc.plotting import plot_scaling

save(plot_scaling(result("25_pruning"), x="density", variable="loss_barrier").figure, "25_pruning")
