"""Every method of fusion on a public pair of MNIST networks; measured by analyses/10_fusion_table.py."""

from common import result, save

from lmc.plotting import plot_fusion_table

save(plot_fusion_table(result("10_fusion_pair"), metric="error").figure, "fusion_table")
