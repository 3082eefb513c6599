"""Losses, metrics, and the engine that evaluates one network at many parameter points over the same examples."""

from lmc.evaluation.engine import AbstractEngine as AbstractEngine
from lmc.evaluation.engine import CopyEngine as CopyEngine
from lmc.evaluation.ensemble import evaluate_ensemble as evaluate_ensemble
from lmc.evaluation.evaluate import PathEvaluation as PathEvaluation
from lmc.evaluation.evaluate import evaluate_path as evaluate_path
from lmc.evaluation.evaluate import evaluate_state as evaluate_state
from lmc.evaluation.fast import FastEngine as FastEngine
from lmc.evaluation.inputs import Normalizations as Normalizations
from lmc.evaluation.inputs import normalization_at as normalization_at
from lmc.evaluation.losses import cross_entropy as cross_entropy
from lmc.evaluation.losses import resolve_loss as resolve_loss
from lmc.evaluation.losses import squared_error as squared_error
from lmc.evaluation.losses import token_cross_entropy as token_cross_entropy
from lmc.evaluation.products import inner_products as inner_products
