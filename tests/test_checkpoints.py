import logging
import os
import zlib

import absl.logging
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from packd_jax.checkpoints import (
    CheckpointError,
    describe_checkpoint,
    restore_checkpoint,
    restore_latest,
    save_checkpoint,
    save_latest,
)

DTYPES = ["float32", "bfloat16", "float16", "uint8", "int32", "uint32", "bool", "int64", "float64"]


@flax.struct.dataclass
class State:
    step: jax.Array
    params: dict
    opt_state: optax.OptState
    key: jax.Array


def make_state(width: int = 3) -> State:
    params = {"Dense_0": {"kernel": jnp.arange(2.0 * width).reshape(2, width), "bias": jnp.ones(3)}}
    state = optax.adamw(1e-3).init(params)
    return State(jnp.int32(7), params, state, jax.random.key_data(jax.random.key(3)))


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        assert type(a) is type(b)
        assert a.dtype == b.dtype and a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def from_bytes(dtype: str, shape: tuple[int, ...], data: bytes) -> np.ndarray:
    values = np.frombuffer(data, np.uint8)
    values = values > 127 if dtype == "bool" else values.view(jnp.dtype(dtype))
    return np.resize(values, shape)


arrays = st.builds(
    from_bytes,
    st.sampled_from(DTYPES),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=8).map(b"".join),
)
names = st.text("abc_0.", min_size=1, max_size=3)
nested = st.recursive(
    arrays, lambda t: st.dictionaries(names, t, min_size=1, max_size=3), max_leaves=6
)


@settings(max_examples=25)
@given(tree=nested)
def test_nested_dicts_come_back_bit_for_bit(tree, tmp_path_factory):
    directory = tmp_path_factory.mktemp("round") / "checkpoint"
    if not sum(leaf.size for leaf in jax.tree.leaves(tree)):
        with pytest.raises(CheckpointError, match="holds no numbers"):
            save_checkpoint(directory, tree, {})
        return
    save_checkpoint(directory, tree, {})
    assert_same_bits(restore_checkpoint(directory)[0], tree)
    assert_same_bits(restore_checkpoint(directory, tree)[0], tree)


def test_state_comes_back_in_its_structure(tmp_path):
    state = make_state()
    save_checkpoint(tmp_path / "c", state, {})
    assert_same_bits(restore_checkpoint(tmp_path / "c", state)[0], state)
    abstract = jax.eval_shape(lambda: state)
    assert_same_bits(restore_checkpoint(tmp_path / "c", abstract)[0], state)
    on_host = jax.tree.map(np.asarray, state)
    assert_same_bits(restore_checkpoint(tmp_path / "c", on_host)[0], on_host)


def test_leaf_goes_to_the_device_of_like(tmp_path):
    second = jax.device_put(np.arange(3), jax.devices()[1])
    save_checkpoint(tmp_path / "c", {"a": second}, {})
    tree, _ = restore_checkpoint(tmp_path / "c", {"a": second})
    assert tree["a"].devices() == {jax.devices()[1]}


def test_without_like_a_state_is_a_nested_dict(tmp_path):
    save_checkpoint(tmp_path / "c", make_state(), {})
    tree, _ = restore_checkpoint(tmp_path / "c")
    assert set(tree) == {"step", "params", "opt_state", "key"}
    assert set(tree["opt_state"]["0"]) == {"count", "mu", "nu"}
    assert isinstance(tree["step"], np.ndarray) and tree["step"] == 7
    np.testing.assert_array_equal(tree["params"]["Dense_0"]["kernel"], [[0, 1, 2], [3, 4, 5]])


def test_a_differing_tree_is_named_leaf_by_leaf(tmp_path):
    save_checkpoint(
        tmp_path / "c", {"params": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}, {}
    )
    like = {"params": {"kernel": jnp.ones((2, 4), jnp.bfloat16), "scale": jnp.ones(3)}}
    with pytest.raises(CheckpointError) as error:
        restore_checkpoint(tmp_path / "c", like)
    assert str(tmp_path / "c") in str(error.value)
    assert (
        "leaf params/kernel is float32[2, 3]; expected bfloat16[2, 4]" in error.value.problem
        and "leaf params/scale is missing; expected float32[3]" in error.value.problem
        and "leaf params/bias, float32[3], is surplus" in error.value.problem
    )


def test_meta_comes_back_as_json(tmp_path):
    meta = {
        "config": {"alphas": (0.1, 0.9), "name": "quick"},
        "f1": np.float32(0.1),
        "sizes": np.arange(3),
        "loss": [float("nan"), float("inf"), None],
    }
    save_checkpoint(tmp_path / "c", {"a": np.ones(1)}, meta)
    _, found = restore_checkpoint(tmp_path / "c")
    assert found["config"] == {"alphas": [0.1, 0.9], "name": "quick"}
    assert np.float32(found["f1"]) == np.float32(0.1) and found["sizes"] == [0, 1, 2]
    assert np.isnan(found["loss"][0]) and found["loss"][1:] == [float("inf"), None]


@pytest.mark.parametrize(
    ("tree", "meta", "message"),
    [
        ({"a": 1.5}, {}, "leaf a is a float; expected an array"),
        ({"a": np.array(["x"])}, {}, "leaf a is an array of <U1"),
        ({"a": jax.random.key(0)}, {}, "leaf a is a typed PRNG key; use jax.random.key_data"),
        ({"a/b": np.ones(1)}, {}, "leaf a/b: expected distinct keys without '/'"),
        ({"1": np.ones(1), "b": {}}, {"x": [{1, 2}]}, r"meta.x\[0\] is a set; expected"),
        ({}, {}, "holds no numbers"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_leaves_the_old_one(tmp_path, tree, meta, message):
    save_checkpoint(tmp_path / "c", {"a": np.ones(2)}, {"old": 1})
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(tmp_path / "c", tree, meta)
    assert restore_checkpoint(tmp_path / "c")[1] == {"old": 1}
    assert os.listdir(tmp_path) == ["c"]


def test_other_peoples_directories_are_not_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(CheckpointError, match="is no checkpoint; name a new directory"):
        save_checkpoint(tmp_path, {"a": np.ones(2)}, {})
    with pytest.raises(CheckpointError, match="is no checkpoint; name a new directory"):
        save_checkpoint(tmp_path / "thesis.tex", {"a": np.ones(2)}, {})
    assert (tmp_path / "thesis.tex").read_text() == "text"


def test_orbax_alone_reads_the_leaves_by_name(tmp_path):
    tree = {"a": {"b": np.arange(3.0)}, "c": jnp.ones(2, jnp.bfloat16), "d": np.zeros((0, 3))}
    save_checkpoint(tmp_path / "c", tree, {})
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        found = reader.restore(tmp_path / "c", args=ocp.args.PyTreeRestore())
    assert sorted(found) == ["a/b", "c"] and found["a/b"].tolist() == [0, 1, 2]
    assert found["c"].view(jnp.bfloat16).tolist() == [1, 1]


def test_describe_needs_no_values(tmp_path):
    tree = {"a": np.ones((2, 3), jnp.bfloat16), "b": np.int32(4), "none": np.zeros((0, 2), np.int8)}
    save_checkpoint(tmp_path / "c", tree, {"kind": "student"})
    found = describe_checkpoint(tmp_path / "c")
    assert found.meta == {"kind": "student"}
    described = [(leaf.path, leaf.shape, leaf.dtype, leaf.size_bytes) for leaf in found.leaves]
    assert described == [
        ("a", (2, 3), "bfloat16", 12),
        ("b", (), "int32", 4),
        ("none", (0, 2), "int8", 0),
    ]
    assert found.crc32 == zlib.crc32(b"\x80\x3f" * 6 + b"\x04\0\0\0")


@pytest.mark.parametrize("read", [restore_checkpoint, describe_checkpoint])
def test_what_is_no_checkpoint_is_refused(tmp_path, read):
    with pytest.raises(CheckpointError, match="does not exist"):
        read(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is a file"):
        read(tmp_path / "file")


def test_latest_is_replaced(tmp_path):
    like = {"a": np.zeros(2)}
    assert restore_latest(tmp_path / "run", like) is None
    for step in (10, 20, 5):
        save_latest(tmp_path / "run", step, {"a": np.full(2, step / 4)}, {"seed": 1})
    step, tree, meta = restore_latest(tmp_path / "run", like)
    assert step == 5 and meta == {"seed": 1, "step": 5}
    np.testing.assert_array_equal(tree["a"], [1.25, 1.25])
    assert os.listdir(tmp_path / "run") == ["latest"]


def test_consoles_of_absl_programs_stay_clean(tmp_path, caplog):
    logger = absl.logging.get_absl_logger()
    logger.addHandler(caplog.handler)
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.INFO)
    try:
        save_checkpoint(tmp_path / "c", {"a": np.ones(2)}, {})
        save_checkpoint(tmp_path / "c", {"a": np.ones(2)}, {})
        restore_checkpoint(tmp_path / "c")
        describe_checkpoint(tmp_path / "c")
        absl.logging.info("ours")
    finally:
        absl.logging.set_verbosity(verbosity)
        logger.removeHandler(caplog.handler)
    shown = [r.getMessage() for r in caplog.records if r.levelno >= logging.INFO]
    assert set(shown) == {"ours"}
