"""On-line adaptation: the integer student goes on learning from the loads that it predicts for.

Every `every`-th load waits, with its hidden units, for the label that the `horizon` loads after
it spell; then the output layer takes a step of logistic regression on it. No weight is changed
by a load before that load came, so what is predicted depends on the past alone. All arithmetic is
of whole numbers. The hidden layers stay as they were trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from packd_jax.config.checks import require
from packd_jax.quantize import IntegerStudent

FRACTION = 16  # bits of a weight that learns, below the 8 bits that it is used with
BIAS_FRACTION = 8
LARGEST_BIAS = (1 << 23) - 1
WHOLE = 1 << 12  # a probability of 1
SCALE_BITS = 24  # of the table's steps per integer logit
STEPS = 16  # of the sigmoid's table per unit of logit, which reaches from -8 to 8
SIGMOID = np.rint(WHOLE / (1 + np.exp(-np.arange(-8 * STEPS, 8 * STEPS) / STEPS))).astype(np.int64)


@dataclass(frozen=True)
class AdaptationConfig:
    """How much is learned from which loads.

    A weight changes by (label - probability) * unit * 2**(-4 - rate_shift), of 127 at most.
    """

    every: int = 4  # loads from one that is learned from to the next
    rate_shift: int = 6

    def __post_init__(self) -> None:
        require(self.every >= 1, "adaptation.every", self.every, "1 or more")
        require(0 <= self.rate_shift <= 16, "adaptation.rate_shift", self.rate_shift, "0 to 16")


class Adaptation:
    """The output layer of a student while it learns; feed it the loads in trace order."""

    def __init__(
        self, student: IntegerStudent, config: AdaptationConfig = AdaptationConfig()
    ) -> None:
        output = student.layers[-1]
        self.config, self.horizon = config, student.features.horizon
        self._miss_labels = student.features.miss_labels
        self._table_steps = round(student.logit_scale * STEPS * (1 << SCALE_BITS))
        self._kernel = output.kernel.astype(np.int64) << FRACTION
        self._bias = output.bias.astype(np.int64) * output.bias_factor << BIAS_FRACTION
        units, bits = output.kernel.shape
        waiting = -(-self.horizon // config.every)
        # Of each load that waits: its block, its place in the trace, units, thoughts and label.
        self._whose = np.full((waiting, 2), -1, np.int64)
        self._units = np.zeros((waiting, units), np.int64)
        self._thought = np.zeros((waiting, bits), np.int64)
        self._label = np.zeros((waiting, bits), np.bool_)
        self._loads = 0

    @property
    def bits(self) -> int:
        """Of its state: 24 a weight and a bias, and of each load that waits its block (42), its
        age (8, or what the horizon takes), 8 a unit, and 12 a thought and 1 a label a delta."""
        units, deltas = self._kernel.shape
        age = max(8, self.horizon.bit_length())
        return 24 * (units + 1) * deltas + len(self._whose) * (42 + age + 8 * units + 13 * deltas)

    def logits(self, units: np.ndarray, block: np.ndarray, hit: np.ndarray) -> np.ndarray:
        """Logits i32[N, D] of the next N loads; no row depends on a later one.

        `units` u8[N, U] are the activations that the output layer is fed, `block` i64[N] the
        loads', and `hit` bool[N] whether the LLC would have held it without prefetches (a cache
        that tells first uses of prefetched blocks knows). Raises ValueError for other shapes.
        """
        expected = (len(block), len(self._kernel))
        if units.shape != expected or hit.shape != expected[:1]:
            raise ValueError(f"units {units.shape}, hit {hit.shape}: expected {expected}")
        logits = np.empty((len(block), self._kernel.shape[1]), np.int32)
        _adapt(
            *(self._kernel, self._bias, self._whose, self._units, self._thought, self._label),
            *(units, np.asarray(block, np.int64), ~hit if self._miss_labels else np.ones_like(hit)),
            *(self._loads, self.horizon, self.config.every, self.config.rate_shift),
            *(self._table_steps, SIGMOID, logits),
        )
        self._loads += len(block)
        return logits


@numba.njit(cache=True, nogil=True)
def _adapt(
    kernel, bias, whose, waiting_units, thought, label,
    units, block, counted, loads, horizon, every, rate_shift, table_steps, sigmoid, logits,
):  # fmt: skip
    width, bits = kernel.shape
    bound = bits // 2
    half = 1 << rate_shift >> 1
    largest = np.int64(127) << FRACTION
    for row in range(len(block)):
        place = loads + row
        if counted[row]:
            for slot in range(len(whose)):
                delta = block[row] - whose[slot, 0]
                awaited = whose[slot, 1] >= 0 and place - whose[slot, 1] <= horizon
                if awaited and delta != 0 and -bound <= delta <= bound:
                    label[slot, delta - 1 if delta > 0 else bits + delta] = True
        slot = place // every % len(whose)
        if whose[slot, 1] >= 0 and place - whose[slot, 1] >= horizon:
            for d in range(bits):
                error = WHOLE * label[slot, d] - thought[slot, d]
                bias[d] = min(max(bias[d] + error, -LARGEST_BIAS), LARGEST_BIAS)
                for unit in range(width):
                    step = (error * waiting_units[slot, unit] + half) >> rate_shift
                    kernel[unit, d] = min(max(kernel[unit, d] + step, -largest), largest)
            whose[slot, 1] = -1
        for d in range(bits):
            logits[row, d] = bias[d] >> BIAS_FRACTION
        for unit in range(width):
            x = np.int64(units[row, unit])
            if x:
                for d in range(bits):
                    logits[row, d] += x * (kernel[unit, d] >> FRACTION)
        if place % every == 0:
            whose[slot, 0], whose[slot, 1] = block[row], place
            for unit in range(width):
                waiting_units[slot, unit] = units[row, unit]
            for d in range(bits):
                step = (logits[row, d] * table_steps >> SCALE_BITS) + len(sigmoid) // 2
                thought[slot, d] = sigmoid[min(max(step, 0), len(sigmoid) - 1)]
                label[slot, d] = False
