"""The barrier along training, as in Git Re-Basin and Sharma; measured by analyses/21_training_time.py."""

from common import result, save

from lmc.plotting import plot_scaling

save(plot_scaling(result("21_training_time")).figure, "epoch")
