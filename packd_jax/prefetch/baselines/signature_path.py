"""Signature Path Prefetching (Kim, Pugsley, Gratz, Reddy, Wilkerson and Chishti, MICRO 2016).

"Path Confidence based Lookahead Prefetching": a page's last deltas are compressed to a 12-bit
signature; a table has for each signature the deltas that followed it and how often. Prefetching
goes from signature to signature along the likeliest delta, for as long as the product of the
likelihoods, scaled by the accuracy so far, stays above a threshold.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from packd_jax.prefetch.prefetcher import Prefetcher

PAGES, PATTERNS, WAYS, FILTER, CROSSINGS = 256, 512, 4, 1024, 8
SIGNATURE_MASK, COUNT_MAX, THRESHOLD, COUNTER_MAX = 0xFFF, 15, 25, 1023
DEPTH = 16  # deltas ahead at most: a path of sure deltas may be a circle
CLOCK, ISSUED, USEFUL, CROSSING = range(4)  # scalars: then the tables, one after another
TAGS = 4  # signature table: page tag, last offset, signature, last use
OFFSETS, SIGNATURES, USED = TAGS + PAGES, TAGS + 2 * PAGES, TAGS + 3 * PAGES
TOTALS = TAGS + 4 * PAGES  # pattern table: count of a signature, then its deltas, their counts
DELTAS, COUNTS = TOTALS + PATTERNS, TOTALS + PATTERNS * (1 + WAYS)
FILTERED = COUNTS + PATTERNS * WAYS  # prefetch filter: 2 * tag + used, or -1
CROSSED = FILTERED + FILTER  # global history: signature, confidence, last offset, delta
SIZE = CROSSED + 4 * CROSSINGS


@njit(cache=True, nogil=True)
def _observe(state, block, pc, hit, first_use, fills, out):
    page, offset = block >> 6, block & 63
    slot = FILTERED + (block & (FILTER - 1))
    if state[slot] == 2 * _filter_tag(block):
        state[slot] += 1
        state[USEFUL] += 1
    state[CLOCK] += 1
    confidence = 100
    place = _place(state, page & 0xFFFF)
    if place >= 0:
        delta = offset - state[OFFSETS + place]
        if delta == 0:
            return 0
        _count(state, state[SIGNATURES + place], delta)
        signature = _next(state[SIGNATURES + place], delta)
    else:
        place = _oldest(state)
        state[TAGS + place] = page & 0xFFFF
        signature, confidence = _entering(state, offset)
    state[OFFSETS + place] = offset
    state[SIGNATURES + place] = signature
    state[USED + place] = state[CLOCK]
    if signature == 0:
        return 0
    return _look_ahead(state, page, offset, signature, confidence, out)


@njit(cache=True, nogil=True)
def _look_ahead(state, page, offset, signature, confidence, out):
    """Follows the path; returns how many candidates it wrote."""
    written = depth = 0
    while written < len(out) and depth < DEPTH:
        index = signature & (PATTERNS - 1)
        best, best_delta = 0, 0
        for way in range(WAYS):
            count = state[COUNTS + index * WAYS + way]
            if count == 0:
                continue
            likely = count * confidence // state[TOTALS + index]
            if depth > 0:
                likely = likely * min(state[USEFUL], state[ISSUED]) // max(state[ISSUED], 1)
            if likely < THRESHOLD:
                continue
            delta = state[DELTAS + index * WAYS + way]
            target = offset + delta
            if likely > best:
                best, best_delta = likely, delta
            if not 0 <= target < 64:
                _cross(state, signature, likely, offset, delta)
            elif written < len(out) and _pass_filter(state, page * 64 + target):
                out[written] = page * 64 + target
                written += 1
        offset += best_delta
        if best == 0 or not 0 <= offset < 64:
            break
        confidence, signature, depth = best, _next(signature, best_delta), depth + 1
    return written


@njit(cache=True, nogil=True)
def _place(state, tag):
    """The signature table's entry of a page, or -1."""
    found = -1
    for place in range(PAGES):  # a maximum, and no way out: compiles to vectors
        found = max(found, place if state[TAGS + place] == tag else -1)
    return found


@njit(cache=True, nogil=True)
def _oldest(state):
    """The signature table's entry that was used least recently."""
    oldest = state[USED]
    for place in range(PAGES):
        oldest = min(oldest, state[USED + place])
    found = -1
    for place in range(PAGES):
        found = max(found, place if state[USED + place] == oldest else -1)
    return found


@njit(cache=True, nogil=True)
def _next(signature, delta):
    coded = delta if delta >= 0 else 64 - delta  # 7 bits, sign and magnitude
    return ((signature << 3) ^ coded) & SIGNATURE_MASK


@njit(cache=True, nogil=True)
def _count(state, signature, delta):
    """One more `delta` after `signature`; a new delta replaces the rarest."""
    index = signature & (PATTERNS - 1)
    deltas = state[DELTAS + index * WAYS : DELTAS + (index + 1) * WAYS]
    counts = state[COUNTS + index * WAYS : COUNTS + (index + 1) * WAYS]
    way = 0
    while way < WAYS and (deltas[way] != delta or counts[way] == 0):
        way += 1
    if way == WAYS:
        way = int(np.argmin(counts))
        deltas[way], counts[way] = delta, 0
    counts[way] += 1
    state[TOTALS + index] += 1
    if state[TOTALS + index] > COUNT_MAX:
        state[TOTALS + index] >>= 1
        counts >>= 1


@njit(cache=True, nogil=True)
def _cross(state, signature, confidence, offset, delta):
    """Remembers a path that leaves its page."""
    slot = CROSSED + 4 * state[CROSSING]
    state[slot], state[slot + 1], state[slot + 2] = signature, confidence, offset
    state[slot + 3] = delta
    state[CROSSING] = (state[CROSSING] + 1) % CROSSINGS


@njit(cache=True, nogil=True)
def _entering(state, offset):
    """Signature and confidence of the path that enters a page at `offset`, or (0, 0)."""
    signature, confidence = 0, 0
    for crossing in range(CROSSINGS):
        slot = CROSSED + 4 * crossing
        delta = state[slot + 3]
        if delta != 0 and (state[slot + 2] + delta) & 63 == offset and state[slot + 1] > confidence:
            signature, confidence = _next(state[slot], delta), state[slot + 1]
    return signature, confidence


@njit(cache=True, nogil=True)
def _filter_tag(block):
    return (block >> 10) & 63


@njit(cache=True, nogil=True)
def _pass_filter(state, block):
    """Whether a block was not prefetched lately; if so, it is counted as issued."""
    slot = FILTERED + (block & (FILTER - 1))
    if state[slot] >> 1 == _filter_tag(block):
        return False
    state[slot] = 2 * _filter_tag(block)
    state[ISSUED] += 1
    if state[ISSUED] > COUNTER_MAX:
        state[ISSUED] >>= 1
        state[USEFUL] >>= 1
    return True


def prefetcher() -> Prefetcher:
    """Tables of the paper's sizes, threshold 25 %; all prefetches fill the LLC.

    The filter learns nothing of evictions: its entries go when others take their place.
    """
    signature_table = PAGES * (1 + 16 + 6 + 12 + 8)  # valid, tag, offset, signature, order of use
    pattern_table = PATTERNS * (4 + WAYS * (7 + 4))
    bits = signature_table + pattern_table + FILTER * (1 + 6 + 1) + CROSSINGS * 33 + 20

    def tables() -> np.ndarray:
        state = np.zeros(SIZE, np.int64)
        state[TAGS:OFFSETS] = -1
        state[FILTERED:CROSSED] = -1
        return state

    return Prefetcher("signature_path", bits, tables, _observe)
