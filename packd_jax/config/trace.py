"""Where accesses come from, and how they become examples and clusters."""

from __future__ import annotations

from dataclasses import dataclass

from packd_jax.config.checks import require


@dataclass(frozen=True)
class CacheLevelConfig:
    """One set-associative LRU cache level."""

    size_bytes: int = 48 * 1024
    ways: int = 12
    latency_cycles: int = 5

    def __post_init__(self) -> None:
        require(self.ways > 0, "ways", self.ways, "1 or more")
        require(self.latency_cycles >= 0, "latency_cycles", self.latency_cycles, "0 or more")
        require(self.size_bytes <= 2**30, "size_bytes", self.size_bytes, "1 GiB at most")
        sets, rest = divmod(self.size_bytes, 64 * self.ways)
        require(
            rest == 0 and sets > 0 and sets & (sets - 1) == 0,
            "size_bytes",
            self.size_bytes,
            f"64 B blocks x {self.ways} ways x a power of two sets",
        )


@dataclass(frozen=True)
class CacheConfig:
    """The hierarchy that turns all accesses into last-level loads (ML-DPC's machine)."""

    l1d: CacheLevelConfig = CacheLevelConfig(48 * 1024, 12, 5)
    l2: CacheLevelConfig = CacheLevelConfig(512 * 1024, 8, 10)
    llc: CacheLevelConfig = CacheLevelConfig(2 * 1024 * 1024, 16, 20)
    memory_latency_cycles: int = 200

    def __post_init__(self) -> None:
        cycles = self.memory_latency_cycles
        require(cycles >= 0, "memory_latency_cycles", cycles, "0 or more")


CACHE_PRESETS = {
    # The ChampSim of the ML data prefetching competition: 4 GHz, 48 KiB, 512 KiB, 2 MiB.
    "ml_dpc": CacheConfig(),
    # ChampSim's champsim_config.json: the same caches; memory is the tags of three levels, a row
    # miss (tRP + tRCD + tCAS = 37.5 ns) and a burst (2.5 ns at 3200 MT/s).
    "champsim": CacheConfig(memory_latency_cycles=5 + 10 + 20 + 150 + 10),
    # DPC-4 (2026), dpc4/1C.fullBW.baseline.json: DDR5-4800, 3 * 36 clocks and a burst.
    "dpc4": CacheConfig(
        CacheLevelConfig(48 * 1024, 12, 5),
        CacheLevelConfig(2 * 1024 * 1024, 16, 10),
        CacheLevelConfig(3 * 1024 * 1024, 12, 35),
        memory_latency_cycles=5 + 10 + 35 + 187,
    ),
    # For small programs, nobody's machine: sizes that DPC-4 allows prefetchers at each level.
    "small": CacheConfig(
        CacheLevelConfig(32 * 1024, 8, 4),
        CacheLevelConfig(128 * 1024, 8, 8),
        CacheLevelConfig(256 * 1024, 16, 20),
    ),
}


@dataclass(frozen=True)
class WorkloadConfig:
    """A graph kernel that is run and recorded when no trace file is given."""

    kernel: str = "bfs"  # bfs | pr | cc | sssp | bc
    graph: str = "kron"  # kron (R-MAT .57/.19/.19/.05) | uniform
    scale: int = 18  # 2**scale vertices
    degree: int = 16  # average degree of the undirected graph
    seed: int = 1
    instructions: int = 6_000_000  # stop after this many
    cache: CacheConfig = CacheConfig()

    def __post_init__(self) -> None:
        kernels = ("bfs", "pr", "cc", "sssp", "bc")
        require(self.kernel in kernels, "trace.workload.kernel", self.kernel, f"one of {kernels}")
        require(
            self.graph in ("kron", "uniform"), "trace.workload.graph", self.graph, "kron or uniform"
        )
        require(4 <= self.scale <= 24, "trace.workload.scale", self.scale, "4 to 24")
        require(1 <= self.degree <= 256, "trace.workload.degree", self.degree, "1 to 256")
        require(
            self.instructions > 0,
            "trace.workload.instructions",
            self.instructions,
            "a positive number",
        )


@dataclass(frozen=True)
class TraceConfig:
    """Where accesses come from and how time is cut into train, validation and test.

    Windows are half open `(start, stop)`, in instruction ids, trace rows or percent of the rows.
    """

    paths: tuple[str, ...] = ()  # empty: record `workload`
    workload: WorkloadConfig = WorkloadConfig()
    unit: str = "instructions"  # instructions | rows | percent (of the rows)
    train: tuple[int, int] = (1_000_000, 7_000_000)
    validation: tuple[int, int] = (7_000_000, 8_000_000)
    test: tuple[int, int] = (8_000_000, 10_000_000)

    def __post_init__(self) -> None:
        require(
            self.unit in ("instructions", "rows", "percent"),
            "trace.unit",
            self.unit,
            "instructions, rows or percent",
        )
        for name in ("train", "validation", "test"):
            window = getattr(self, name)
            require(
                len(window) == 2 and 0 <= window[0] < window[1],
                f"trace.{name}",
                window,
                "(start, stop) with 0 <= start < stop",
            )
            require(
                self.unit != "percent" or window[1] <= 100,
                f"trace.{name}",
                window,
                "percent of the rows, 100 at most, as trace.unit says",
            )
        require(
            self.train[1] <= self.validation[0] and self.validation[1] <= self.test[0],
            "trace.validation",
            self.validation,
            "windows in time order: train, then validation, then test, without overlap",
        )


CLUSTER_FEATURES = ("a", "d", "i", "t")


@dataclass(frozen=True)
class ClusterConfig:
    """k-means over the access windows, fitted on training windows."""

    feature: str = (
        "d"  # a: block addresses | d: block deltas | i: PCs | t: page offset of the trigger
    )
    k: int = 3
    minimum_share: float = 0.005  # smaller clusters are merged into their nearest neighbour
    minibatch_rows: int = 200_000  # MiniBatchKMeans above so many rows
    sample_rows: int = 2_000_000  # fitted on so many training windows, spread evenly; 0: all
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            self.feature in CLUSTER_FEATURES,
            "clusters.feature",
            self.feature,
            f"one of {CLUSTER_FEATURES}",
        )
        require(1 <= self.k <= 16, "clusters.k", self.k, "1 to 16")
        require(
            self.sample_rows == 0 or self.sample_rows >= self.k,
            "clusters.sample_rows",
            self.sample_rows,
            f"0 (all), or at least k = {self.k}",
        )
        require(
            0 <= self.minimum_share < 1, "clusters.minimum_share", self.minimum_share, "in [0, 1)"
        )
