"""The barrier against the learning rate, as in Ferbach; measured by analyses/23_dimension.py."""

from common import result, save

from lmc.plotting import plot_scaling

labels = {"weights": "weight matching", "covariance": "weight matching, covariance of activations"}
save(plot_scaling(result("23_dimension"), labels=labels).figure, "23_learning_rate")
