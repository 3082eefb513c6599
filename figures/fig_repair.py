"""A matched CNN with BatchNorm before and after REPAIR, as in Jordan and others; by analyses/30_gallery.py."""

from common import result, save
from matplotlib.figure import Figure

from lmc.plotting import plot_barrier
from lmc.plotting.style import house_style

runs = {"as it is": result("30_cnn_plain"), "REPAIR": result("30_cnn_repaired")}
with house_style("page"):
    figure = Figure()
    for place, (title, measured) in enumerate(runs.items()):
        axes = figure.add_subplot(1, 2, place + 1, sharey=figure.axes[0] if place else None)
        plot_barrier(measured, ax=axes, metric="accuracy")
        axes.set_xlabel(f"position along the path, {title}")
    figure.set_figheight(2.6)
    figure.draw_without_rendering()
save(figure, "repair")
