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


@dataclass(frozen=True)
class FeatureConfig:
    """How a window of accesses becomes inputs, and the accesses after it a delta bitmap."""

    encoding: str = "tokens"  # segments | tokens
    look_back: int = 10  # accesses in a window, the current one included
    horizon: int = 128  # accesses after the current one that labels look at
    delta_bound: int = 128  # |delta| <= bound, in blocks; the bitmap has 2 * bound bits
    keep_empty_labels: bool = True  # False: drop rows without a set bit, as the authors do
    miss_labels: bool = False  # True: only future accesses that miss the LLC are labels
    delta_from: str = "current"  # tokens: deltas to the current access | to the previous one
    delta_exact: int = 32  # tokens: |delta| <= exact has a token of its own
    delta_log_buckets: int = 12  # tokens: buckets per sign beyond, one per octave
    pc_vocabulary: int = 48  # tokens: most frequent PCs of the training rows
    pc_hash_buckets: int = 8  # tokens: what is left is hashed into so many
    local_deltas: int = 0  # tokens: last deltas between loads of the current PC; 0: none
    local_entries: int = 64  # tokens: PCs whose last loads are remembered for them, by hash

    def __post_init__(self) -> None:
        require(
            self.encoding in ("segments", "tokens"),
            "features.encoding",
            self.encoding,
            "segments or tokens",
        )
        require(
            self.delta_from in ("previous", "current"),
            "features.delta_from",
            self.delta_from,
            "previous or current",
        )
        require(1 <= self.look_back <= 256, "features.look_back", self.look_back, "1 to 256")
        require(1 <= self.horizon <= 4096, "features.horizon", self.horizon, "1 to 4096")
        require(
            self.delta_bound > 0 and self.delta_bound % 4 == 0,
            "features.delta_bound",
            self.delta_bound,
            "a positive multiple of 4 (labels are packed in bytes)",
        )
        require(self.delta_exact >= 1, "features.delta_exact", self.delta_exact, "at least 1")
        require(
            1 <= self.delta_log_buckets <= 58,
            "features.delta_log_buckets",
            self.delta_log_buckets,
            "1 to 58",
        )
        require(
            self.delta_vocabulary <= 256,
            "features.delta_exact",
            self.delta_exact,
            f"at most {127 - self.delta_log_buckets} beside delta_log_buckets ="
            f" {self.delta_log_buckets} (a token is one byte)",
        )
        require(
            self.pc_tokens <= 256,
            "features.pc_vocabulary",
            self.pc_vocabulary,
            f"at most {256 - self.pc_hash_buckets} beside the hash buckets (a token is one byte)",
        )
        require(self.pc_vocabulary >= 0, "features.pc_vocabulary", self.pc_vocabulary, "0 or more")
        require(0 <= self.local_deltas <= 16, "features.local_deltas", self.local_deltas, "0 to 16")
        require(
            1 <= self.local_entries <= 65536,
            "features.local_entries",
            self.local_entries,
            "1 to 65536",
        )
        require(
            self.pc_hash_buckets >= 1,
            "features.pc_hash_buckets",
            self.pc_hash_buckets,
            "at least 1",
        )

    @property
    def label_bits(self) -> int:
        """Bits D of a label: positive deltas first, then negative ones."""
        return 2 * self.delta_bound

    @property
    def delta_vocabulary(self) -> int:
        """Delta tokens: zero, exact ones and log buckets of both signs."""
        return 1 + 2 * (self.delta_exact + self.delta_log_buckets)

    @property
    def pc_tokens(self) -> int:
        return self.pc_vocabulary + self.pc_hash_buckets


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
            0 <= self.minimum_share < 1, "clusters.minimum_share", self.minimum_share, "in [0, 1)"
        )
