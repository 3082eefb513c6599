"""Fusion of several networks into one: one verb, one method a file."""

from lmc.fusion.aligned import AlignThenAverage as AlignThenAverage
from lmc.fusion.base import AbstractFusion as AbstractFusion
from lmc.fusion.ensemble import PredictionEnsemble as PredictionEnsemble
from lmc.fusion.fisher import FisherAverage as FisherAverage
from lmc.fusion.fuse import fuse as fuse
from lmc.fusion.gromov_wasserstein_barycenter import GromovWassersteinBarycenter as GromovWassersteinBarycenter
from lmc.fusion.implied import BarycenterAlignment as BarycenterAlignment
from lmc.fusion.implied_gromov import GromovBarycenterAlignment as GromovBarycenterAlignment
from lmc.fusion.otfusion import OTFusion as OTFusion
from lmc.fusion.problem import Problem as Problem
from lmc.fusion.regmean import RegMean as RegMean
from lmc.fusion.result import FusionResult as FusionResult
from lmc.fusion.soup import ModelSoup as ModelSoup
from lmc.fusion.task_arithmetic import TaskArithmetic as TaskArithmetic
from lmc.fusion.ties import Ties as Ties
from lmc.fusion.transformer import TransformerFusion as TransformerFusion
from lmc.fusion.vanilla import VanillaAverage as VanillaAverage
from lmc.fusion.wasserstein import WassersteinBarycenter as WassersteinBarycenter
