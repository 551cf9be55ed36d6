"""How accesses become the inputs and the labels of a model."""

from __future__ import annotations

from dataclasses import dataclass

from packd_jax.config.checks import require

CONFIDENCES = 8  # tokens of local_confidence: a 3-bit counter
POPULARITIES = 5  # tokens of popularity: 0, 1, 2 to 3, 4 to 7, 8 to 15 loads
POPULARITY_BLOCKS = (0, 1, 2, 4)  # whose popularity a window has, from the current block on


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
    local_confidence: bool = False  # tokens: also how steady these deltas are
    popularity_entries: int = 0  # tokens: counters of past loads, by hash of the block; 0: none

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
        for name, low, high in (
            ("look_back", 1, 256),
            ("horizon", 1, 4096),
            ("delta_log_buckets", 1, 58),
            ("local_deltas", 0, 16),
            ("local_entries", 1, 65536),
            ("popularity_entries", 0, 2**20),
        ):
            value = getattr(self, name)
            require(low <= value <= high, f"features.{name}", value, f"{low} to {high}")
        require(
            self.delta_bound > 0 and self.delta_bound % 4 == 0,
            "features.delta_bound",
            self.delta_bound,
            "a positive multiple of 4 (labels are packed in bytes)",
        )
        require(self.delta_exact >= 1, "features.delta_exact", self.delta_exact, "at least 1")
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
        require(
            self.local_deltas > 0 or not self.local_confidence,
            "features.local_confidence",
            self.local_confidence,
            "local_deltas of 1 or more beside it",
        )
        require(
            self.popularity_entries & (self.popularity_entries - 1) == 0,
            "features.popularity_entries",
            self.popularity_entries,
            "a power of two, or 0",
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

    @property
    def popularity_period(self) -> int:
        """Loads between two halvings of all popularity counters."""
        return 2 * self.popularity_entries

    @property
    def state_bits(self) -> int:
        """Bits that hardware would keep between loads to make these inputs.

        An access of the window is a block number (42 bits, of a 48-bit address) and a PC token
        (8). An entry of the PCs' last loads is a tag (16), a block number (42), tokens of deltas
        (8 each) and the confidence (3). Popularity takes 4 bits a counter, and those that count
        the loads of a period. "segments" keep blocks alone.
        """
        if self.encoding == "segments":
            return 42 * self.look_back
        bits = self.look_back * (42 + 8)
        if self.local_deltas:
            entry = 16 + 42 + 8 * self.local_deltas + 3 * self.local_confidence
            bits += self.local_entries * entry
        if self.popularity_entries:
            bits += 4 * self.popularity_entries + (self.popularity_period - 1).bit_length()
        return bits
