"""Figures, each drawn from a result dataset and nothing else; no pyplot, and nothing of torch."""

from lmc.plotting.accessor import LmcAccessor as LmcAccessor
from lmc.plotting.adaptive import AdaptiveArtists as AdaptiveArtists
from lmc.plotting.adaptive import plot_adaptive as plot_adaptive
from lmc.plotting.barrier import BarrierArtists as BarrierArtists
from lmc.plotting.barrier import Panel as Panel
from lmc.plotting.barrier import plot_barrier as plot_barrier
from lmc.plotting.barrier_matrix import MatrixArtists as MatrixArtists
from lmc.plotting.barrier_matrix import plot_barrier_matrix as plot_barrier_matrix
from lmc.plotting.basin import BasinArtists as BasinArtists
from lmc.plotting.basin import BasinPanel as BasinPanel
from lmc.plotting.basin import plot_basin as plot_basin
from lmc.plotting.basin_surface import SurfaceArtists as SurfaceArtists
from lmc.plotting.basin_surface import plot_basin_surface as plot_basin_surface
from lmc.plotting.kinds import FIGURES as FIGURES
from lmc.plotting.kinds import figures_of as figures_of
from lmc.plotting.kinds import natural_figure as natural_figure
from lmc.plotting.kinds import plot as plot
from lmc.plotting.saving import figure_format as figure_format
from lmc.plotting.saving import save_figure as save_figure
from lmc.plotting.scaling import ScalingArtists as ScalingArtists
from lmc.plotting.scaling import plot_scaling as plot_scaling
from lmc.plotting.style import SIZES as SIZES
from lmc.plotting.verdicts import VerdictArtists as VerdictArtists
from lmc.plotting.verdicts import plot_verdicts as plot_verdicts
