"""The barrier of matched networks against depth before and after a reset of BatchNorm; by analyses/24_repair.py."""

from common import result, save

from lmc.plotting import plot_scaling

study = result("24_repair").sel(norm="batch", alignment="weights").drop_vars("alignment")
study = study[[name for name in study.data_vars if "stage" in study[name].dims or "claim" in study[name].dims]]
staged = study.rename(stage="alignment").transpose("pair", "depth", "alignment", ...)
save(plot_scaling(staged, x="depth", variable="error_barrier", log="").figure, "statistics-depth")
