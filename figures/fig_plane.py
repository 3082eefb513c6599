"""Loss and error on the plane through A, B and the aligned B, as in the main paper; by analyses/30_gallery.py."""

from common import result, save

from lmc.plotting import plot_basin, plot_basin_surface

plane = result("30_plane")
save(plot_basin(plane).figure, "plane")
save(plot_basin_surface(plane).figure, "plane-surface")
