"""Module kinds: what they cost against what JAX says, and that they run."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_jax.modules import Cost, get_kind, kinds, sample_config
from latency_jax.parameters import ParameterError

BUILT_IN = tuple(kinds())
EXPECTED = """activation add avg_pool batch_norm concat conv2d conv_bn_relu conv_transpose2d dense
depthwise_conv2d depthwise_conv_bn_relu embedding global_pool layer_norm lstm max_pool mixer_block
multi_head_attention softmax transformer_block"""


def tree_bytes(tree):
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def shapes(built):
    """Shapes of the variables and of the output, without computing anything."""
    variables = jax.eval_shape(built.module.init, jax.random.key(0), *built.inputs)
    return variables, jax.eval_shape(built.module.apply, variables, *built.inputs)


def compiled_flops(values, kind):
    built = get_kind(kind).build(values)
    variables, _ = shapes(built)
    analysis = jax.jit(built.module.apply).lower(variables, *built.inputs).compile().cost_analysis()
    return analysis["flops"]


def test_the_built_in_kinds():
    assert sorted(BUILT_IN) == EXPECTED.split()


@pytest.mark.parametrize("name", BUILT_IN)
def test_bytes_are_those_of_the_arrays(name):
    kind, rng = get_kind(name), np.random.default_rng(0)
    for _ in range(4):
        values = sample_config(name, rng).values
        built, cost = kind.build(values), kind.cost(values)
        variables, output = shapes(built)
        assert cost.input_bytes == tree_bytes(built.inputs), values
        assert cost.weight_bytes == tree_bytes(variables), values
        assert cost.output_bytes == tree_bytes(output), values
        assert output.dtype == values["dtype"]
        assert all(x.shape[0] == values["batch_size"] for x in (*built.inputs, output))


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_small_configuration_runs(name):
    rng = np.random.default_rng(1)

    def fill(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return jnp.asarray(rng.integers(-(2**31), 2**31, leaf.shape), leaf.dtype)
        return jnp.asarray(rng.uniform(0.1, 0.9, leaf.shape), leaf.dtype)

    built = get_kind(name).build(sample_config(name, rng, size_limit=5e-3).values)
    variables, output = jax.tree.map(fill, shapes(built)[0]), shapes(built)[1]
    result = jax.jit(built.module.apply)(variables, *map(fill, built.inputs))
    assert (result.shape, result.dtype) == (output.shape, output.dtype)
    assert bool(jnp.isfinite(result.astype(jnp.float32)).all())


@pytest.mark.parametrize("name", BUILT_IN)
@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32))
def test_a_table_costs_what_its_rows_cost(name, seed):
    kind, rng = get_kind(name), np.random.default_rng(seed)
    rows = [sample_config(name, rng).values for _ in range(4)]
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    table = kind.cost(columns)
    for i, row in enumerate(rows):
        alone = kind.cost(row)
        assert all(type(field) is float for field in alone)
        assert Cost(*(float(field[i]) for field in table)) == alone
        assert kind.cost({key: column[i] for key, column in columns.items()}) == alone
    assert np.all(table.bytes == table.input_bytes + table.weight_bytes + table.output_bytes)
    assert np.all(table.intensity == table.flops / table.bytes)


DENSE = {"batch_size": 8, "in_features": 256, "out_features": 512}
CONV = {"input_size": 16, "in_channels": 32, "out_channels": 48}
TOKENS = {"batch_size": 2, "tokens": 64, "features": 96}


@pytest.mark.parametrize(
    ("name", "values", "tolerance"),
    [
        ("dense", DENSE, 0),
        ("dense", {**DENSE, "positions": 3, "use_bias": False}, 0),
        ("conv2d", {**CONV, "padding": "VALID", "use_bias": False}, 0),
        ("conv2d", {**CONV, "padding": "VALID", "stride": 2, "activation": "relu"}, 0),
        ("conv2d", {**CONV, "padding": "VALID", "dilation": 2, "kernel_size": 5}, 0),
        ("conv2d", {**CONV, "padding": "VALID", "groups": 4}, 0),
        ("conv2d", {**CONV, "input_size": 64}, 0.025),  # XLA leaves out the padding
        ("depthwise_conv2d", {"input_size": 16, "in_channels": 32, "padding": "VALID"}, 0),
        ("conv_transpose2d", {**CONV, "stride": 2, "kernel_size": 2}, 0),
        ("conv_transpose2d", {**CONV, "padding": "VALID"}, 0),
        ("add", {"positions": 10, "features": 30}, 0),
        ("avg_pool", {"input_size": 32, "channels": 16, "padding": "VALID"}, 0),
        # XLA counts transcendental functions apart from FLOPs.
        ("multi_head_attention", TOKENS, 0.03),
        ("transformer_block", {**TOKENS, "mlp_dim": 384}, 0.03),
        ("mixer_block", {**TOKENS, "tokens_mlp_dim": 128, "channels_mlp_dim": 256}, 0.03),
    ],
)
def test_flops_are_those_that_xla_counts(name, values, tolerance):
    counted = get_kind(name).cost(values).flops
    assert counted == pytest.approx(compiled_flops(values, name), rel=tolerance + 1e-6)


def test_flops_by_hand():
    dense = {**DENSE, "positions": 2, "activation": "relu"}
    assert get_kind("dense").cost(dense).flops == 8 * 2 * 512 * (2 * 256 + 1 + 1)
    lstm = {"batch_size": 2, "tokens": 3, "in_features": 5, "features": 7}
    products = 2 * 3 * 7 * 4 * 2 * (5 + 7)
    assert products < get_kind("lstm").cost(lstm).flops < 1.8 * products
    assert get_kind("embedding").cost({"vocabulary": 9, "features": 4}).flops == 0


def test_missing_columns_are_read_as_defaults():
    sizes = {"in_channels": np.array([3, 64]), "out_channels": [8, 8], "input_size": [32, 7]}
    whole = {
        "batch_size": 1, "dtype": "float32", "kernel_size": 3, "stride": 1, "padding": "SAME",
        "dilation": 1, "groups": 1, "activation": "none", "use_bias": True,
    }  # fmt: skip
    kind = get_kind("conv2d")
    some, full = kind.cost(sizes), kind.cost({**whole, **sizes, "another column": [1, 2]})
    assert all(np.array_equal(a, b) for a, b in zip(some, full))
    # A table with none of the columns is one row.
    assert kind.cost({}) == kind.cost({"input_size": 32, "in_channels": 64, "out_channels": 64})


def test_columns_as_datasets_write_them():
    kind = get_kind("conv2d")
    usual = {"input_size": [9, 9], "kernel_size": [3, 3]}
    words = {
        "padding": ["SAME", "VALID"],
        "activation": ["none", "relu"],
        "use_bias": [True, False],
    }
    codes = {"padding": [1, 0], "activation": [0, 3], "use_bias": ["True", "False"]}
    objects = {key: np.array(column, dtype=object) for key, column in {**usual, **words}.items()}
    expected = kind.cost({**usual, **words})
    for table in ({**usual, **codes}, objects):
        assert all(np.array_equal(a, b) for a, b in zip(kind.cost(table), expected))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"stride": [1, 2], "groups": [1, 2, 3]}, r"^conv2d = .*expected columns of one length$"),
        ({"stride": ["one", "two"]}, r"^conv2d\.stride = .*expected numbers$"),
        ({"stride": [1, None]}, r"^conv2d\.stride = .*expected numbers$"),
        ({"padding": ["SAME", "FULL"]}, r"^padding = 'FULL': expected one of \('SAME', 'VALID',"),
        ({"dtype": "int4"}, r"^dtype = 'int4': expected one of \('float32',"),
        ({"activation": ["relux"]}, r"^activation = 'relux': expected one of \('none', 'relu',"),
        ({"use_bias": ["maybe"]}, r"^switch = 'maybe': expected one of \('True', 'False',"),
    ],
)
def test_a_column_that_cannot_be_counted_is_refused(columns, message):
    with pytest.raises(ParameterError, match=message):
        get_kind("conv2d").cost(columns)
