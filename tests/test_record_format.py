"""Records: what is packed is unpacked, and other bytes are refused."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_shards import ALL, FEATURES, SEGMENTS, TOKENS

from packd_jax.config import FeatureConfig
from packd_jax.shards.record_format import (
    RECORD_ROWS,
    RecordFormat,
    record_columns,
    stored_features,
)

features = st.builds(
    FeatureConfig,
    encoding=st.sampled_from(["tokens", "segments"]),
    look_back=st.integers(1, 12),
    delta_bound=st.integers(1, 9).map(lambda b: 4 * b),
    local_deltas=st.integers(0, 3),
    popularity_entries=st.sampled_from([0, 16]),
)


def random_values(columns, count, seed):
    rng, values = np.random.default_rng(seed), {}
    for column in columns:
        info = np.iinfo(column.dtype)
        shape = (count, *column.shape)
        values[column.name] = rng.integers(info.min, info.max, shape, column.dtype, endpoint=True)
    return values


@settings(max_examples=30)
@given(features, st.integers(1, 3 * RECORD_ROWS), st.integers(0, 2**40), st.integers(0, 99))
def test_what_is_packed_is_unpacked(config, rows, first, seed):
    layout, count = RecordFormat(config), -(-rows // RECORD_ROWS)
    values = random_values(layout.columns, count, seed)
    packed = layout.pack(first, rows, values)
    assert packed.shape == (count, layout.size_bytes)
    for record in range(count):
        found = layout.unpack(packed[record].tobytes(), first + record)
        assert found.rows == min(RECORD_ROWS, rows - record * RECORD_ROWS)
        assert list(found.columns) == [column.name for column in layout.columns]
        for name, column in found.columns.items():
            np.testing.assert_array_equal(column, values[name][record])
            assert column.flags.aligned and not column.flags.writeable


def test_columns_that_do_not_fit_are_not_packed():
    layout = RecordFormat(TOKENS)
    values = random_values(layout.columns, 2, 0)
    with pytest.raises(ValueError, match=r"column labels is uint8\[2, 1024, 4\]: expected .*\[1,"):
        layout.pack(
            0,
            7,
            {
                **values,
                "block": values["block"][:1],
                "pc": values["pc"][:1],
                "instr_id": values["instr_id"][:1],
            },
        )


def test_other_bytes_are_refused():
    layout = RecordFormat(TOKENS)
    (good,) = layout.pack(4, 9, random_values(layout.columns, 1, 0))
    content = good.tobytes()
    assert layout.unpack(content, 4).rows == 9
    with pytest.raises(ValueError, match=f"bytes; expected {layout.size_bytes}"):
        layout.unpack(content[:-1], 4)
    with pytest.raises(ValueError, match="record 4 of 9 rows; expected record 5"):
        layout.unpack(content, 5)
    with pytest.raises(ValueError, match="a record of other columns"):
        layout.unpack(b"x" + content[1:], 4)
    wider = dataclasses.replace(TOKENS, delta_bound=TOKENS.delta_bound)
    assert RecordFormat(wider).unpack(content, 4).rows == 9
    other = RecordFormat(dataclasses.replace(TOKENS, look_back=6))
    with pytest.raises(ValueError, match="expected"):
        other.unpack(content, 4)


def test_columns_are_those_that_the_features_need():
    names = {key: [c.name for c in record_columns(config)] for key, config in FEATURES.items()}
    always = ["block", "pc", "instr_id", "labels"]
    assert names["segments"] == always
    assert names["tokens"] == [*always, "delta"]
    assert names["all tokens"] == [*always, "delta", "local", "confidence", "popularity"]


def test_what_records_do_not_depend_on_is_left_out():
    def replace(**changes):
        return stored_features(dataclasses.replace(TOKENS, **changes))

    assert replace(pc_vocabulary=9, pc_hash_buckets=3, local_entries=2) == stored_features(TOKENS)
    assert replace(horizon=8) != stored_features(TOKENS) != replace(delta_exact=9)
    local = dataclasses.replace(ALL, local_entries=5)
    assert stored_features(local) != stored_features(ALL)
    tokens_alone = dataclasses.replace(SEGMENTS, delta_exact=9, popularity_entries=4)
    assert stored_features(tokens_alone) == stored_features(SEGMENTS) != stored_features(TOKENS)
