"""An RNN and an LSTM, as in the main paper, read row by row; measured by analyses/30_gallery.py."""

from common import result, save
from matplotlib.figure import Figure

from lmc.plotting import plot_barrier
from lmc.plotting.style import house_style

with house_style("page"):
    figure = Figure(figsize=(6.8, 2.8))
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), ("rnn", "lstm"), strict=True):
        plot_barrier(result(f"30_{kind}"), ax=axes, metric="accuracy")
        axes.set_xlabel(f"position along the path, {kind.upper()}")
    figure.draw_without_rendering()
save(figure, "recurrent")
