"""The barrier along training, as in Git Re-Basin and Sharma; measured by analyses/21_training_time.py."""

from common import result, save

from lmc.plotting import plot_scaling

labels = {
    "none": "not aligned",
    "weights": "matched at this epoch",
    "final": "by the permutation found after the last epoch",
    "random": "by a random permutation",
}
save(plot_scaling(result("21_training_time"), labels=labels).figure, "21_training_time")
