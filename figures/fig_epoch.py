"""The barrier along training, as in Git Re-Basin and Sharma; measured by analyses/21_training_time.py."""

from common import result, save

from lmc.plotting import plot_scaling

study = result("21_training_time")
labels = {
    "none": "not aligned",
    "weights": "matched at this epoch",
    "final": "by the permutation found after the last epoch",
    "random": "by a random permutation",
}
save(plot_scaling(study, labels=labels).figure, "epoch")
