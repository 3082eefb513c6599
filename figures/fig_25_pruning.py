"""The barrier along iterative pruning; measured by analyses/25_pruning.py."""

from common import result, save

from lmc.plotting import plot_scaling

labels = {
    "none": "not aligned",
    "weights": "matched at this density",
    "dense": "by the permutation of the dense networks",
}
drawn = plot_scaling(result("25_pruning"), x="density", variable="loss_barrier", labels=labels)
save(drawn.figure, "25_pruning")
