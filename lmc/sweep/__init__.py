"""Many pairs of checkpoints: planned, done as units of work by one process or many, and collected into one dataset."""

from lmc.sweep.clusters import KINDS as KINDS
from lmc.sweep.clusters import check_cluster as check_cluster
from lmc.sweep.clusters import make_cluster as make_cluster
from lmc.sweep.clusters import resources_of as resources_of
from lmc.sweep.collect import collect as collect
from lmc.sweep.dask_executor import DaskExecutor as DaskExecutor
from lmc.sweep.executors import AbstractExecutor as AbstractExecutor
from lmc.sweep.executors import InProcess as InProcess
from lmc.sweep.memory import Share as Share
from lmc.sweep.memory import read_size as read_size
from lmc.sweep.memory import share_memory as share_memory
from lmc.sweep.plan import PLAN as PLAN
from lmc.sweep.plan import Plan as Plan
from lmc.sweep.plan import make_plan as make_plan
from lmc.sweep.plan import read_plan as read_plan
from lmc.sweep.pool import ProcessPool as ProcessPool
from lmc.sweep.pool import cores as cores
from lmc.sweep.progress import Progress as Progress
from lmc.sweep.progress import duration as duration
from lmc.sweep.run import Summary as Summary
from lmc.sweep.run import run_sweep as run_sweep
from lmc.sweep.settings import SweepSettings as SweepSettings
from lmc.sweep.settings import parse_sweep as parse_sweep
from lmc.sweep.settings import read_sweep as read_sweep
