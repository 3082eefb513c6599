"""The barrier between children of one parent, as in Frankle; measured by analyses/22_instability.py."""

from common import result, save

from lmc.plotting import plot_scaling

stable = {"stable: under 2% (Frankle)": 0.02}
study = result("22_instability")
save(plot_scaling(study, x="step", variable="error_barrier", horizontal=stable).figure, "22_instability")
