"""Siblings against the steps that they share, as in Frankle; measured by analyses/22_instability.py."""

from common import result, save

from lmc.plotting import plot_scaling

study = result("22_instability").sel(network="cnn-bn")
artists = plot_scaling(study, x="step", variable="error_barrier", log="", horizontal={"stable under 2%": 0.02})
save(artists.figure, "instability")
