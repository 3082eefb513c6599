"""Results as one page that opens anywhere: ``lmc report``. Draws and describes, computes nothing, needs no torch."""

from lmc.report.write import make_report as make_report
from lmc.report.write import write_report as write_report
