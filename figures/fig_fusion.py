"""Parents, ensembles, the plain average and a barycenter, as in the main paper's tables; by analyses/30_gallery.py."""

from common import result, save

from lmc.plotting import plot_fusion_table

save(plot_fusion_table(result("30_fusion")).figure, "fusion")
