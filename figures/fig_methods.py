"""Loss and accuracy along the path by several alignments, the demo's MLPs; measured by analyses/30_gallery.py."""

from common import result, save

from lmc.plotting import plot_barrier

save(plot_barrier(result("30_methods"), size="page").figure, "methods")
