"""Clusters that a sweep starts for itself: this machine's processes, or jobs of a queueing system."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from lmc._errors import UsageError, did_you_mean, unknown
from lmc._optional import require
from lmc.sweep.dask_executor import make_security

QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster"}
"""Kind of cluster to the class of dask_jobqueue."""

KINDS = ("local", *QUEUES, "kubernetes")

_KNOWN = ("kind", "workers", "minimum", "maximum", "gpus", "settings", "security")
_PURPOSE = "sweeps on a cluster"


def check_cluster(table: Mapping[str, Any], kind: str | None = None) -> dict[str, Any]:
    """Return the table ``[cluster]`` of a sweep file with its kind filled in, checked before anything is started.

    Raises
    ------
    UsageError
        For an unknown kind or entry, or sizes that make no sense.
    """
    for name in table:
        if name not in _KNOWN:
            raise UsageError(
                f"[cluster] has no entry {name!r}.{did_you_mean(name, _KNOWN)} Known: {', '.join(_KNOWN)}."
            )
    found = {"workers": 1, "gpus": 0, "settings": {}, "security": {}, **table}
    found["kind"] = kind or table.get("kind")
    if found["kind"] not in KINDS:
        raise unknown("kind of cluster", str(found["kind"]), KINDS)
    for name in ("workers", "minimum", "maximum", "gpus"):
        value = found.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise UsageError(f"[cluster] {name} is {value!r}: write a whole number.")
    for name in ("settings", "security"):
        if not isinstance(found[name], Mapping):
            raise UsageError(f"[cluster] {name} is a table; write [cluster.{name}] on a line of its own.")
    return found


def make_cluster(table: Mapping[str, Any], *, scale: bool = True) -> Any:
    """Start a cluster.

    Parameters
    ----------
    table : mapping
        From :func:`check_cluster`: ``kind``; ``workers``, or ``minimum`` and ``maximum`` for as many as there is work
        for; ``gpus`` of each worker; ``settings``, passed on to the cluster's class as they are; ``security``, TLS.
    scale : bool
        Whether to ask for workers; without, its job script can be looked at.

    Returns
    -------
    distributed.deploy.Cluster

    Raises
    ------
    MissingPackageError
        If the package for this kind is not installed.
    UsageError
        If the class refuses a setting.
    """
    kind, settings = table["kind"], dict(table["settings"])
    if table["security"]:
        settings["security"] = make_security(table["security"])
    try:
        cluster = _STARTED.get(kind, _queue)(table, settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"[cluster.settings] of {kind}: {error}") from error
    if scale and kind != "local":
        if "maximum" in table:
            cluster.adapt(minimum=table.get("minimum", 0), maximum=table["maximum"])
        else:
            cluster.scale(table["workers"])
    return cluster


def resources_of(table: Mapping[str, Any], device: str) -> dict[str, float]:
    """Return what a batch takes of its worker: a GPU where it computes on one and workers have them."""
    return {"GPU": 1} if table.get("gpus") and device.startswith("cuda") else {}


def _local(table: Mapping[str, Any], settings: dict[str, Any]) -> Any:
    """Start processes of this machine; with GPUs, a process for each, which sees no other."""
    distributed = require("distributed", purpose=_PURPOSE, extra="dask")
    settings = {"dashboard_address": ":0", "silence_logs": logging.ERROR, **settings}
    if not table["gpus"]:
        return distributed.LocalCluster(n_workers=table["workers"], **{"threads_per_worker": 1, **settings})
    scheduler = {"dashboard_address": settings.pop("dashboard_address"), "host": settings.pop("host", "127.0.0.1")}
    workers = {gpu: {"cls": distributed.Nanny, "options": _on_gpu(gpu)} for gpu in range(table["gpus"])}
    return distributed.SpecCluster(workers, {"cls": distributed.Scheduler, "options": scheduler}, **settings)


def _on_gpu(gpu: int) -> dict[str, Any]:
    return {"nthreads": 1, "resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": str(gpu)}}


def _queue(table: Mapping[str, Any], settings: dict[str, Any]) -> Any:
    """Start a cluster whose workers are jobs; what a worker offers is told to it on its command line."""
    jobqueue = require("dask_jobqueue", purpose=f"--cluster {table['kind']}", extra="dask")
    if table["gpus"]:
        extra = list(settings.get("worker_extra_args", ()))
        settings["worker_extra_args"] = [*extra, "--resources", f"GPU={table['gpus']}"]
    return getattr(jobqueue, QUEUES[table["kind"]])(**{"processes": 1, **settings})


def _kubernetes(table: Mapping[str, Any], settings: dict[str, Any]) -> Any:
    operator = require("dask_kubernetes.operator", purpose="--cluster kubernetes", extra="kubernetes")
    return operator.KubeCluster(**settings)


_STARTED = {"local": _local, "kubernetes": _kubernetes}
