"""Paths and planes through solutions, curves that are trained, and the repair of statistics along them."""

from lmc.interpolation.batchnorm import RecalibratedPath as RecalibratedPath
from lmc.interpolation.batchnorm import batchnorm_layers as batchnorm_layers
from lmc.interpolation.batchnorm import reset_batchnorm as reset_batchnorm
from lmc.interpolation.curve_training import CurveResult as CurveResult
from lmc.interpolation.curve_training import train_curve as train_curve
from lmc.interpolation.curves import CURVES as CURVES
from lmc.interpolation.curves import AbstractCurve as AbstractCurve
from lmc.interpolation.curves import BezierPath as BezierPath
from lmc.interpolation.curves import PolygonalPath as PolygonalPath
from lmc.interpolation.layerwise import move_only as move_only
from lmc.interpolation.layerwise import moved_names as moved_names
from lmc.interpolation.paths import AbstractPath as AbstractPath
from lmc.interpolation.paths import LinearPath as LinearPath
from lmc.interpolation.plane import Plane as Plane
from lmc.interpolation.repair import RepairedPath as RepairedPath
from lmc.interpolation.repair import repair as repair
from lmc.interpolation.repair_report import STAGES as STAGES
from lmc.interpolation.repair_report import RepairReport as RepairReport
from lmc.interpolation.repair_report import repair_report as repair_report
from lmc.interpolation.spherical import SphericalPath as SphericalPath
