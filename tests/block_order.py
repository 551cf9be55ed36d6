"""An order of windows for tests: blocks of consecutive rows, shuffled, and then their rows."""

import numpy as np


class BlockOrder:
    """What `batching.RowOrder` promises, in a few lines; endless, epoch after epoch."""

    def __init__(self, rows, seed=0, lanes=1, block=1024, blocks_a_window=4):
        self._rows, self._seed, self.lanes = rows, seed, lanes
        self._block, self._blocks = block, blocks_a_window
        self.window_rows = block * blocks_a_window

    def window(self, lane, number):
        blocks = -(-self._rows // self._block)
        a_lane = -(-blocks // (self.lanes * self._blocks))  # windows of a lane and an epoch
        epoch, place = divmod(number, a_lane)
        order = np.random.default_rng([self._seed, epoch]).permutation(blocks)
        start = (place * self.lanes + lane) * self._blocks
        own = order[start : start + self._blocks]
        rows = (own[:, None] * self._block + np.arange(self._block)).ravel()
        rows = rows[rows < self._rows]
        return np.random.default_rng([self._seed, epoch, lane, place]).permutation(rows)
