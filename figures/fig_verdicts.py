"""Six runs of one network: the verdict on every pair, and all barriers; measured by analyses/30_gallery.py."""

from common import result, save

from lmc.plotting import plot_barrier_matrix, plot_verdicts

runs = result("30_verdicts")
save(plot_verdicts(runs).figure, "verdicts")
save(plot_barrier_matrix(runs, after="weights?restarts=4&scale=plain").figure, "matrix")
