"""Numbers in the order of first appearance, across chunks and growth."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from packd_jax.shards.pc_dictionary import PcDictionary


def by_hand(pcs):
    known: dict = {}
    return [known.setdefault(pc, len(known)) for pc in pcs], list(known)


@given(st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9), max_size=30), max_size=4))
def test_numbers_are_those_of_first_appearance(chunks):
    dictionary = PcDictionary()
    found = [dictionary.numbers(np.array(chunk, np.uint64)) for chunk in chunks]
    numbers, pcs = by_hand([pc for chunk in chunks for pc in chunk])
    assert np.concatenate([np.zeros(0, np.uint32), *found]).tolist() == numbers
    assert dictionary.pcs.tolist() == pcs
    assert all(part.dtype == np.uint32 for part in found) and dictionary.pcs.dtype == np.uint64


def test_it_grows_with_the_pcs():
    pc = np.random.default_rng(0).integers(0, 2**64, 20_000, np.uint64)
    pc = np.concatenate([pc, pc[::-1]])
    dictionary = PcDictionary()
    found = np.concatenate([dictionary.numbers(part) for part in np.array_split(pc, 7)])
    numbers, pcs = by_hand(pc.tolist())
    assert found.tolist() == numbers and dictionary.pcs.tolist() == pcs
