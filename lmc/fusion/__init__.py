"""Fusion of several networks into one: one verb, one method a file."""

from lmc.fusion.base import AbstractFusion as AbstractFusion
from lmc.fusion.fuse import fuse as fuse
from lmc.fusion.problem import Problem as Problem
from lmc.fusion.result import FusionResult as FusionResult
from lmc.fusion.vanilla import VanillaAverage as VanillaAverage
from lmc.fusion.wasserstein import WassersteinBarycenter as WassersteinBarycenter
