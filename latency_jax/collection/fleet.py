"""A fleet: one collector on each node of a Ray cluster, or on each GPU of a node.

A collector claims all CPUs of its node (a GPU and a share of the CPUs), so that Ray runs nothing
beside it, and measures what `collect` would measure there. Its file grows on the node, and its
lines are brought here every few seconds; a later run sends them back for it to go on from.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from latency_jax.collection.dataset_file import DatasetError
from latency_jax.collection.fleet_file import FleetFile, fleet_id
from latency_jax.collection.fleet_node import NodeCollector, NodeJob
from latency_jax.collection.received_file import ReceivedFile
from latency_jax.collection.schedule import threads_of
from latency_jax.config import CollectConfig
from packd_jax.config import to_json_dict
from packd_jax.ray_cluster import connected

LABEL = "machine"  # of a node: its lasting name, instead of that of its host
POLL_S = 5.0  # between two times that lines are brought
_SAY_S = 60.0


class FleetError(RuntimeError):
    """A fleet that cannot start, or has not measured everything: where, why, what to do."""


class Place(NamedTuple):
    """Where one collector runs."""

    node_id: str  # Ray's
    machine: str
    cpus: int  # that it claims and measures on
    first_core: int = 0
    gpus: int = 0  # 1 where it measures that


def places(nodes: Sequence[Mapping[str, Any]]) -> list[Place]:
    """One for each GPU of a node, one for a node without; `nodes` as `ray.nodes()` gives them.

    Nodes that count no CPU are for something else. Raises FleetError where two nodes could not be
    told from each other.
    """
    found: dict[tuple, Place] = {}
    for node in nodes:
        resources = node["Resources"]
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if not node["Alive"] or not cpus:
            continue
        machine = node.get("Labels", {}).get(LABEL) or node["NodeManagerHostname"]
        share = cpus // max(gpus, 1)
        for index in range(max(gpus, 1)):
            place = Place(node["NodeID"], machine, share, index * share, min(gpus, 1))
            if found.setdefault((machine, *place[2:]), place) != place:
                raise _same_name(machine)
    if not found:
        raise FleetError("no node of the cluster has CPUs; start one with `ray start`")
    return list(found.values())


def collect_fleet(
    config: CollectConfig,
    directory: str | os.PathLike,
    address: str | None = None,
    register: Sequence[str] = (),
) -> FleetFile:
    """Measures `config` on each machine of the cluster into `directory/<environment id>`.

    Each takes the time that `collect` would; those that share a machine take turns. `register`
    are modules that the nodes import. What was measured earlier counts. Raises FleetError where
    an environment is unfinished at the end, after the others have gone on; ConfigError without
    Ray; DatasetError for a foreign `fleet.json`.
    """
    fleet, threads = FleetFile(directory), threads_of(config)
    name = f"{fleet.directory} of {socket.gethostname()}, process {os.getpid()}"
    job = NodeJob(to_json_dict(config), tuple(register), cores=threads, fleet=name)
    with connected(address) as ray:
        run = _Run(ray, job, fleet)
        asyncio.run(run.everywhere(places(ray.nodes())))
    left = {**fleet.unfinished, **run.failed}
    if left:
        told = "; ".join(f"{name}: {why}" for name, why in left.items())
        raise FleetError(
            f"unfinished: {told}. The same command goes on; to give up what is no longer there, "
            "remove its directory"
        )
    return fleet


class _Run:
    """The state of one call of `collect_fleet`."""

    def __init__(self, ray: Any, job: NodeJob, fleet: FleetFile) -> None:
        self.ray, self.job, self.fleet = ray, job, fleet
        self.started: set[str] = set()  # environments
        self.failed: dict[str, str] = {}  # where nothing could be measured, and why

    async def everywhere(self, found: Sequence[Place]) -> None:
        await asyncio.gather(*map(self.at, found))

    async def at(self, place: Place) -> None:
        actor, facts, why = self.actor(place), None, None
        name = f"{place.machine}, {place.cpus} cores"  # until the environment is known
        try:
            found = await actor.facts.remote()
            name = self.named(found)
            with ReceivedFile(self.fleet.directory / name) as file:
                facts = found
                self.fleet.put(name, facts, "was interrupted")
                earlier = max(file.data.count(b"\n") - 1, 0)
                _say(f"{name}: measures on {place.machine}, after {earlier} earlier measurements")
                await actor.start.remote(file.data)
                await self.bring(actor, file, name)
                await actor.close.remote()
        except self.ray.exceptions.RayTaskError as error:  # what a method of NodeCollector raised
            why = str(error.cause)
        except self.ray.exceptions.RayError as error:
            why = f"its node or its collector was lost: {_short(error)}"
        except (DatasetError, FleetError) as error:
            why = str(error)
        finally:
            self.ray.kill(actor)
        if facts is not None:
            self.fleet.put(name, facts, why)
        elif why is not None:
            self.failed[name] = why
        _say(f"{name}: {why or 'done'}")

    def actor(self, place: Place) -> Any:
        scheduling = self.ray.util.scheduling_strategies
        there = scheduling.NodeAffinitySchedulingStrategy(place.node_id, soft=False)
        job = self.job._replace(
            machine=place.machine,
            on_gpu=bool(place.gpus),
            cores=min(self.job.cores or place.cpus, place.cpus),
            first_core=place.first_core,
        )
        claims = {"num_cpus": place.cpus, "num_gpus": place.gpus}
        actor = self.ray.remote(NodeCollector).options(scheduling_strategy=there, **claims)
        return actor.remote(job)

    def named(self, facts: Mapping[str, Any]) -> str:
        name = fleet_id(facts)
        if name in self.started:
            raise _same_name(facts["machine"])
        self.started.add(name)
        return name

    async def bring(self, actor: Any, file: ReceivedFile, name: str) -> None:
        size, rows, said_s, is_end = len(file.data), 0, time.monotonic(), False
        while not is_end:
            try:
                lines, is_end = await actor.more.remote(size, POLL_S)
            except self.ray.exceptions.ActorUnavailableError:  # comes back, or Ray says it died
                await asyncio.sleep(POLL_S)
                continue
            file.append(lines)
            size, rows = size + len(lines), rows + lines.count(b"\n")
            if time.monotonic() - said_s > _SAY_S:
                said_s = time.monotonic()
                _say(f"{name}: {rows} measurements")


def _same_name(machine: str) -> FleetError:
    return FleetError(
        f"two nodes named {machine!r} measure the same number of cores or GPUs, and their datasets "
        f"could not be told apart; start them with names that last: `ray start --labels={LABEL}=…`"
    )


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip()[:200] if lines else 'silent'}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
