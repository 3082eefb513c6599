"""An RNN and an LSTM, as in the main paper, read row by row; measured by analyses/30_gallery.py."""

from common import result, save
from matplotlib.figure import Figure

from lmc.plotting import plot_barrier
from lmc.plotting.style import house_style

networks = {"RNN": result("30_rnn"), "LSTM": result("30_lstm")}
with house_style("page"):
    figure = Figure(figsize=(6.8, 2.8))
    for axes, (kind, measured) in zip(figure.subplots(1, 2, sharey=True), networks.items(), strict=True):
        plot_barrier(measured, ax=axes, metric="accuracy")
        axes.set_xlabel(f"position along the path, {kind}")
    figure.draw_without_rendering()
save(figure, "recurrent")
