"""Activations of two networks, seen once, kept as moments: any number of examples in the memory of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn

from lmc._errors import MismatchError, UsageError
from lmc._types import StateDict
from lmc.datasets import AbstractData
from lmc.evaluation.inputs import network_inputs
from lmc.symmetry import PermutationSpec
from lmc.symmetry.export import Exported, export
from lmc.symmetry.sites import RECURRENT, Place, Sighting, Site
from lmc.symmetry.walk import op_name


class Watcher(Protocol):
    """Takes what two networks show on the same examples."""

    def begin(self, sites: Sequence[Site]) -> None:
        """Learn which places there will be; called once."""
        ...

    def add(self, site: Site, a: Tensor, b: Tensor, other: Site | None = None) -> None:
        """Take in what A and B show at a site; ``other`` is the same one in B, where its widths are others."""
        ...


_BATCH = 128
_BATCH_ELEMENTS = 2**22


def watch(
    a: StateDict,
    b: StateDict,
    spec: PermutationSpec,
    data: AbstractData,
    module: nn.Module | None,
    *,
    place: Place,
    examples: int | None,
    seen: Watcher,
    other: tuple[PermutationSpec, nn.Module | None] | None = None,
) -> int:
    """Run A and B on the same examples and show every activation that holds units.

    Parameters
    ----------
    a, b : mapping of str to Tensor
        The two networks, run in eval mode, in float32 at least.
    spec : PermutationSpec
        Whose groups are looked at.
    data : AbstractData
        Raw examples; their normalisation is applied here. Read once.
    module : nn.Module or None
        The network, traced anew for batches of a useful size. Without it the graph of the spec runs, in batches of the
        size that it was found with, whole ones only.
    place : {"pre", "post"}
        Before or after the nonlinearities.
    examples : int or None
        How many examples are looked at, the first of the data; all for None.
    seen : Watcher
        Is shown every site of every batch.
    other : (PermutationSpec, nn.Module), optional
        B's groups and network, where its widths are others.

    Returns
    -------
    int
        Number of examples seen.
    """
    first = next(iter(data.batches(2)))[0]
    size, whole = batch_size(first, examples, data, spec, module)
    count = 0
    runs: dict[int, tuple[Run, Run]] = {}
    for raw in batches(data, size, examples):
        if len(raw) not in runs:
            if whole and runs:  # a rest that the graph of the spec does not take
                break
            x = network_inputs(raw, data.normalization, device_of(a), dtype_of(a))
            run = Run(spec, graph_at(spec, module, x), place)
            runs[len(raw)] = (run, run if other is None else _run_alike(run, *other, x, place))
        run, run_b = runs[len(raw)]
        if not count:
            seen.begin(run.sites)
        inputs = network_inputs(raw, data.normalization, device_of(a), dtype_of(a))
        shown, shown_b = run.show(a, inputs), run_b.show(b, inputs)
        for site, site_b in zip(run.sites, run_b.sites, strict=True):
            seen.add(site, shown[site], shown_b[site_b], *(() if run_b is run else (site_b,)))
        count += len(raw)
    return count


def _run_alike(run: Run, spec: PermutationSpec, module: nn.Module | None, x: Tensor, place: Place) -> Run:
    """Return a run of a network of other widths, its sites those of another run one by one."""
    found = Run(spec, graph_at(spec, module, x), place)
    check_alike([run, found])
    return found


def check_alike(runs: Sequence[Run]) -> None:
    """Raise MismatchError where networks show their units at different places."""
    nodes = [[(site.node, site.output, tuple(site.axes)) for site in run.sites] for run in runs]
    if any(one != nodes[0] for one in nodes):
        raise MismatchError("The networks' graphs differ, so that their activations cannot be compared: use weights.")


def batches(data: AbstractData, size: int, examples: int | None) -> Iterator[Tensor]:
    """Yield the inputs of the first examples in batches of just one size, the last perhaps smaller."""
    held: list[Tensor] = []
    left = examples
    for inputs, _ in data.batches(size):
        inputs = inputs if left is None else inputs[:left]
        left = None if left is None else left - len(inputs)
        held.append(inputs)
        while sum(map(len, held)) >= size:
            joined = torch.cat(held)
            yield joined[:size]
            held = [joined[size:]] if len(joined) > size else []
        if left == 0:
            break
    if held:
        yield torch.cat(held)


def batch_size(
    first: Tensor, examples: int | None, data: AbstractData, spec: PermutationSpec, module: nn.Module | None
) -> tuple[int, bool]:
    """Return how many examples a graph is run on at a time, and whether on whole batches of that size only."""
    if examples is not None and examples < 2:
        raise UsageError(f"Activations of {examples} example say nothing of how units go together: examples=1000, say.")
    if module is None:
        given = spec.exported.inputs if spec.exported else ()
        sizes = [len(one.value) for one in given if one.kind == "input" and isinstance(one.value, Tensor)]
        if not sizes:
            raise UsageError("Activations are needed: pass module=, the network, to align.")
        return sizes[0], True
    known = [size for size in (examples, data.size) if size is not None]
    return min([_BATCH, max(2, _BATCH_ELEMENTS // max(1, first[0].numel())), *known]), False


def graph_at(spec: PermutationSpec, module: nn.Module | None, x: Tensor) -> Exported:
    """Return the network's graph at the batch size of an input; without the network, that of the spec."""
    if module is None:
        assert spec.exported is not None
        return spec.exported
    return export(module, (x,))


def device_of(state: StateDict) -> torch.device:
    """Return where a network is."""
    return next(iter(state.values())).device


def dtype_of(state: StateDict) -> torch.dtype:
    """Return the widest floating type of the weights, float32 at least."""
    dtype = torch.float32
    for tensor in state.values():
        dtype = torch.promote_types(dtype, tensor.dtype) if tensor.is_floating_point() else dtype
    return dtype


class Run:
    """A graph at one batch size, with the places to look at: before or after nonlinearities, or as they are chosen."""

    def __init__(
        self, spec: PermutationSpec, exported: Exported, place: Place | Callable[[Sighting], list[Site]]
    ) -> None:
        self._exported = exported
        sighting = Sighting(spec, exported)
        self.sites = place(sighting) if callable(place) else sighting.sites(place)

    def show(self, state: StateDict, inputs: Tensor) -> dict[Site, Tensor]:
        """Run the network and return what is seen at every site."""
        observer = _Observer(self._exported.graph_module, self.sites)
        feed = [self._feed(one, state, inputs) for one in self._exported.inputs]
        with torch.no_grad():
            observer.run(*feed, enable_io_processing=False)
        return observer.shown

    def _feed(self, one: Any, state: StateDict, inputs: Tensor) -> Any:
        if one.kind == "input":
            return inputs
        if one.kind == "constant":
            return one.value.to(inputs.device) if isinstance(one.value, Tensor) else one.value
        name = one.name if one.name in state else self._exported.aliases.get(one.name, one.name)
        tensor = state[name].detach()
        return tensor.to(inputs.dtype if inputs.is_floating_point() else dtype_of(state)) if _real(tensor) else tensor


def _real(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


class _Observer(fx.Interpreter):
    """Runs a graph and copies what it is asked to see just before it is read: later ops may write into it."""

    def __init__(self, graph_module: fx.GraphModule, sites: list[Site]) -> None:
        super().__init__(graph_module)
        self.shown: dict[Site, Tensor] = {}
        self._before: dict[str, list[Site]] = {}
        for site in sites:
            self._before.setdefault(site.before, []).append(site)
        self._nodes = {node.name: node for node in graph_module.graph.nodes}

    def run_node(self, n: fx.Node) -> Any:
        sites = self._before.get(n.name, ())
        if sites and op_name(n.target).removeprefix("aten.") in RECURRENT:
            self._recurrent(n, [site for site in sites if site.output])
        for site in sites:
            if not site.output:
                self.shown[site] = self.env[self._nodes[site.node]].clone()
        return super().run_node(n)

    def _recurrent(self, n: fx.Node, sites: list[Site]) -> None:
        """Run a recurrent layer one layer after the other: its own output holds the last one's states only."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        names = [argument.name for argument in n.target._schema.arguments]  # type: ignore[union-attr]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        layers, directions = given["num_layers"], 1 + bool(given["bidirectional"])
        per_layer = len(given["params"]) // layers
        x, hx = given["input"], given["hx"]
        for layer in range(layers):
            rows = slice(layer * directions, (layer + 1) * directions)
            start = [one[rows] for one in hx] if isinstance(hx, (list, tuple)) else hx[rows]
            params = given["params"][layer * per_layer : (layer + 1) * per_layer]
            given_now = {**given, "input": x, "hx": start, "params": params, "num_layers": 1, "dropout": 0.0}
            x, *states = n.target(*(given_now[name] for name in names))  # type: ignore[operator]
            for site in sites:
                output, cell = site.output
                if cell // directions == layer:
                    hidden = x.chunk(directions, dim=-1)[cell % directions]
                    whole = hidden if hidden.dim() == 3 else hidden[None]
                    self.shown[site] = whole if site.over_time else states[output - 1][cell % directions]


class Moments:
    """Running sums of two sets of rows over all samples, in float64.

    Parameters
    ----------
    inner : bool
        Whether each set's products with itself are kept as well: what geometries within a network need.
    """

    def __init__(self, *, inner: bool = False) -> None:
        self.count = 0
        self.sum_a = self.sum_b = self.squares_a = self.squares_b = self.cross = torch.zeros(())
        self.inner_a = self.inner_b = torch.zeros(())
        self._inner = inner

    def add(self, a: Tensor, b: Tensor) -> None:
        """Add samples, shape (units, samples) each."""
        a, b = a.double(), b.double()
        if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise MismatchError("Activations are not finite: check the weights and how the examples are normalised.")
        self.count += a.shape[1]
        self.sum_a, self.sum_b = self.sum_a.to(a.device) + a.sum(1), self.sum_b.to(a.device) + b.sum(1)
        self.squares_a = self.squares_a.to(a.device) + (a * a).sum(1)
        self.squares_b = self.squares_b.to(a.device) + (b * b).sum(1)
        self.cross = self.cross.to(a.device) + a @ b.T
        if self._inner:
            self.inner_a, self.inner_b = self.inner_a.to(a.device) + a @ a.T, self.inner_b.to(a.device) + b @ b.T

    def correlation(self) -> tuple[Tensor, int]:
        """Return the correlation of every pair, 0 where a unit does not vary, and how many units do not."""
        mean_a, mean_b = self.sum_a / self.count, self.sum_b / self.count
        (scale_a, dead_a), (scale_b, dead_b) = (
            _scale(squares / self.count, mean) for squares, mean in ((self.squares_a, mean_a), (self.squares_b, mean_b))
        )
        covariance = self.cross / self.count - mean_a[:, None] * mean_b
        return (covariance * scale_a[:, None] * scale_b).clamp(-1, 1), dead_a + dead_b

    def squared_distance(self) -> Tensor:
        """Return the squared distance of every pair, summed over samples, never negative."""
        return (self.squares_a[:, None] + self.squares_b - 2 * self.cross).clamp(min=0)


def _scale(mean_square: Tensor, mean: Tensor) -> tuple[Tensor, int]:
    """Return one over the standard deviation, 0 where rounding alone would make one, and the number of those."""
    variance = mean_square - mean * mean
    dead = variance <= 1e-12 * mean_square
    scale = torch.where(dead, torch.zeros_like(variance), variance.clamp(min=1e-300).rsqrt())
    return scale, int(dead.sum())
