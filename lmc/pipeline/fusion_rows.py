"""What is done to every fused network alike: statistics, fine-tuning, and the rows that it gets in the table."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lmc._types import StateDict
from lmc.architectures import fit_state
from lmc.datasets import AbstractData
from lmc.evaluation import evaluate_ensemble, evaluate_state
from lmc.evaluation.evaluate import Progress
from lmc.fusion import FusionResult
from lmc.interpolation import batchnorm_layers, reset_batchnorm
from lmc.pipeline.fusion_dataset import Row
from lmc.training import train


@dataclass(frozen=True)
class Workshop:
    """What happens to every fused network alike, and what its rows are.

    Parameters
    ----------
    modules, states : sequence
        The networks that are fused.
    module : torch.nn.Module
        The network that is fused into.
    training : AbstractData, optional
        Examples for statistics and fine-tuning.
    epochs : int
        Of fine-tuning.
    settings : mapping
        Of :func:`lmc.train`.
    recalibrate : bool
        Whether BatchNorm statistics are reset.
    seed : int
        Of fine-tuning.
    progress : callable, optional
        Such as ``tqdm.tqdm``.
    """

    modules: Sequence[nn.Module]
    states: Sequence[StateDict]
    module: nn.Module
    training: AbstractData | None
    epochs: int
    settings: Mapping[str, Any]
    recalibrate: bool
    seed: int
    progress: Progress | None = None

    @property
    def resets(self) -> bool:
        """Whether there are statistics, and they are reset."""
        return self.recalibrate and bool(batchnorm_layers(self.module))

    def finish(self, name: str, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Return the network as it is measured, and after fine-tuning, each under the name of its row."""
        fitted = fit_state(state, self.module, name)
        fitted = self._typed(fitted)
        if self.resets:
            fitted = reset_batchnorm(self.module, fitted, self.training)
        found = {name: fitted}
        if self.epochs:
            network = copy.deepcopy(self.module)
            network.load_state_dict(fitted)
            assert self.training is not None
            tuned = train(
                network, self.training, epochs=self.epochs, seed=self.seed, progress=self.progress, **self.settings
            )
            found[f"{name}, fine-tuned"] = tuned.state
        return found

    def _typed(self, state: StateDict) -> dict[str, Tensor]:
        """Return a state in the types of the first network's, ties kept."""
        done: dict[int, Tensor] = {}
        typed = {}
        for name, tensor in state.items():
            key = tensor.data_ptr() or id(tensor)
            done.setdefault(key, tensor.to(self.states[0][name].dtype))
            typed[name] = done[key]
        return typed

    def references(self, names: Sequence[str], mix: Sequence[float], task: str) -> list[Row]:
        """Return the rows of parents and ensembles."""
        members = list(zip(self.modules, self.states, strict=True))
        rows = [Row(n, "parent", _alone(*one), _count(one[0])) for n, one in zip(names, members, strict=True)]
        total = sum(row.parameters for row in rows)
        if len(members) > 1:
            for combine in ("logits", "probabilities")[: 1 if task == "regression" else 2]:
                rows.append(Row(f"ensemble ({combine})", "ensemble", _together(members, mix, combine), total))
        return rows

    def rows(
        self, name: str, result: FusionResult, states: Mapping[str, StateDict], role: str, seconds: float
    ) -> list[Row]:
        """Return the rows of one fusion, which took so many seconds."""
        told: dict[str, Any] = {"message": result.message, "objective": result.objective, "seconds": seconds}
        if result.combine is not None:
            members = list(zip(self.modules, self.states, strict=True))
            count = sum(_count(module) for module in self.modules)
            return [Row(name, "ensemble", _together(members, result.mix, result.combine), count, **told)]
        (first, state), *tuned = states.items()
        rows = [Row(first, role, _alone(self.module, state), _count(self.module), **told)]
        how = f"{self.epochs} epochs, learning rate {self.settings['lr']:g}"
        return rows + [Row(one, "fine-tuned", _alone(self.module, x), _count(self.module), how) for one, x in tuned]


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _alone(module: nn.Module, state: StateDict) -> Callable[..., Any]:
    return lambda data, where: evaluate_state(module, state, data, **where)


def _together(members: Sequence[tuple[nn.Module, StateDict]], mix: Sequence[float], combine: Any) -> Callable[..., Any]:
    return lambda data, where: evaluate_ensemble(members, data, mix=mix, combine=combine, **where)
