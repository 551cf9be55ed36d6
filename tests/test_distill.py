"""Soft targets: stored within the stated error, routed, atomic and resumable."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from packd_jax import distill, ensemble
from packd_jax.config import ModelConfig
from packd_jax.distill import encode_soft, write_soft_targets
from packd_jax.features import Examples
from packd_jax.models import InputSpec, build_model
from packd_jax.train_step import decode_soft

SPEC = InputSpec(look_back=3, label_bits=16, delta_vocabulary=11, pc_tokens=6)
MODEL = build_model(ModelConfig("token_mlp", width=8), SPEC)
ROWS = 50
RNG = np.random.default_rng(0)
INPUTS = {
    "delta": RNG.integers(0, 11, (ROWS, 3), dtype=np.uint8),
    "pc": RNG.integers(0, 6, (ROWS, 3), dtype=np.uint8),
    "offset": RNG.integers(0, 64, ROWS, dtype=np.uint8),
}
CLUSTER = RNG.integers(0, 2, ROWS, dtype=np.uint8)
VARIABLES = ensemble.init(MODEL, np.array([1, 2], np.int32), SPEC.zeros())


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(distill, "CHUNK", 16)  # four chunks, the last of two rows


def examples_of(inputs):
    return Examples(inputs, np.zeros((ROWS, 2), np.uint8), np.arange(ROWS))


def write(path, **options):
    return write_soft_targets(path, MODEL, VARIABLES, examples_of(INPUTS), CLUSTER, **options)


def files(directory):
    return sorted(path.name for path in directory.iterdir())


logits = hnp.arrays(np.float32, 20, elements=st.floats(-200, 200, width=32))


@given(logits, st.sampled_from([0.5, 1.0, 3.0, 20.0]))
def test_the_error_of_what_is_stored_is_as_stated(logits, temperature):
    scaled = np.clip(logits.astype(np.float64) / temperature, -700, 700)
    exact = 1 / (1 + np.exp(-scaled))
    # Beside the rounding that is stated, a few units in the last place of f32 arithmetic.
    arithmetic = 2e-6 * exact
    halves = encode_soft(logits, temperature, "float16")
    assert halves.dtype == np.float16
    bound = np.where(exact >= 2**-14, 2**-11 * exact, 2**-25) + arithmetic
    assert (np.abs(halves.astype(np.float64) - exact) <= bound).all()
    octets = encode_soft(logits, temperature, "uint8")
    assert octets.dtype == np.uint8
    assert (np.abs(octets / 255 - exact) <= 1 / 510 + arithmetic).all()


@given(logits)
def test_stored_probabilities_keep_the_order_of_the_logits(logits):
    logits = np.sort(logits)
    for dtype in ("float16", "uint8"):
        stored = encode_soft(logits, 1.0, dtype).astype(np.float64)
        assert (np.diff(stored) >= 0).all()


def test_certainty_is_stored_as_0_and_1():
    extreme = np.array([-1e30, -30, 0, 30, 1e30], np.float32)
    assert encode_soft(extreme, 1.0, "uint8").tolist() == [0, 0, 128, 255, 255]
    np.testing.assert_allclose(encode_soft(extreme, 1.0, "float16"), [0, 0, 0.5, 1, 1], atol=1e-7)


@pytest.mark.parametrize(("dtype", "error"), [("float16", 2**-11), ("uint8", 1 / 509)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_each_row_is_answered_by_the_teacher_of_its_cluster(tmp_path, dtype, error, temperature):
    values = write(tmp_path / "new" / "soft.npy", temperature=temperature, dtype=dtype)
    assert values.shape == (ROWS, 16) and values.dtype == dtype
    logits = ensemble.make_apply(MODEL)(VARIABLES, INPUTS)
    own = np.asarray(logits, np.float64)[CLUSTER, np.arange(ROWS)]
    expected = 1 / (1 + np.exp(-own / temperature))
    np.testing.assert_allclose(decode_soft(jnp.asarray(values)), expected, atol=error)
    assert np.abs(np.diff(logits, axis=0)).max() > 0.1  # the teachers do differ
    assert files(tmp_path / "new") == ["soft.npy"]


def test_the_file_is_mapped_for_reading_alone(tmp_path):
    values = write(tmp_path / "soft.npy")
    assert isinstance(values, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        values[0, 0] = 0


def interrupt(path, after):
    """Writes until `after` rows are committed, then stops."""

    class Stop(Exception):
        pass

    def progress(rows):
        if rows >= after:
            raise Stop

    with pytest.raises(Stop):
        write(path, progress=progress)


@pytest.mark.parametrize(("after", "resumed"), [(16, [32, 48, 50]), (33, [50]), (50, [])])
def test_an_interrupted_file_ends_with_the_same_bytes(tmp_path, after, resumed):
    whole, path = tmp_path / "whole.npy", tmp_path / "again.npy"
    write(whole)
    interrupt(path, after)
    assert not path.exists()  # nothing half written under the name of the whole
    seen = []
    write(path, progress=seen.append)
    assert seen == resumed
    assert path.read_bytes() == whole.read_bytes()
    assert files(tmp_path) == ["again.npy", "whole.npy"]


def test_a_whole_file_is_read_and_not_written_again(tmp_path):
    path, seen = tmp_path / "soft.npy", []
    first = np.array(write(path))
    np.testing.assert_array_equal(write(path, progress=seen.append), first)
    assert seen == []


def test_what_is_left_of_an_uncommitted_start_is_written_anew(tmp_path):
    path = tmp_path / "soft.npy"
    path.with_suffix(".partial").write_bytes(b"no array")  # stopped before its first commit
    seen = []
    write(path, progress=seen.append)
    assert seen == [16, 32, 48, 50]
    assert files(tmp_path) == ["soft.npy"]


def test_a_marker_without_its_file_is_not_believed(tmp_path):
    # Stopped between the last rename and the end, the file was removed since then.
    path, marker = tmp_path / "soft.npy", tmp_path / "soft.json"
    marker.write_text(json.dumps({"rows": ROWS}))
    with pytest.raises(ValueError, match="expected"):
        write_soft_targets(path, MODEL, VARIABLES, examples_of({"delta": INPUTS["delta"]}), CLUSTER)
    assert not marker.exists()  # or it would speak for whatever comes next
    seen = []
    write(path, progress=seen.append)
    assert seen == [16, 32, 48, 50]


def test_some_rows_are_answered_as_they_are_among_all(tmp_path):
    everything, rows = write(tmp_path / "all.npy"), np.array([40, 3, 3, *range(20)])
    some = write_soft_targets(
        tmp_path / "some.npy", MODEL, VARIABLES, examples_of(INPUTS), CLUSTER[rows], rows=rows
    )
    np.testing.assert_allclose(some, everything[rows], atol=1e-3)
