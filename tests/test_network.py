"""Networks by NumPy: of many rows and of one, against their formulas, and files that are none."""

import numpy as np
import pytest

from latency_jax.regressors.network import Network, extracted

FEATURES, SIZES, WAVES, WIDTH, UNITS = 5, 3, 4, 2, 8


def arrays(members=1, waves=True, depth=1, seed=0):
    """(own, encoder): f16 arrays of a network."""
    rng = np.random.default_rng(seed)
    inputs = FEATURES + SIZES * WIDTH * waves
    shapes = {
        "adapter_kernel": (inputs, UNITS),
        "adapter_bias": (1, UNITS),
        "head_kernel": (UNITS, 1),
        "head_bias": (1, 1),
    }
    if waves:
        shapes |= {"frequencies": (SIZES, WAVES), "mix": (SIZES, 1 + 2 * WAVES, WIDTH)}
    blocks = {}
    for block in range(depth):
        for part in ("up", "down"):
            blocks[f"block{block}_{part}_kernel"] = (UNITS, UNITS)
            blocks[f"block{block}_{part}_bias"] = (1, UNITS)
    return tuple(
        {name: (rng.normal(size=(members, *s)) / 2).astype(np.float16) for name, s in group.items()}
        for group in (shapes, blocks)
    )


def silu(x):
    return x / (1 + np.exp(-x))


def expected(own, encoder, x):
    """The formulas in f64, a member at a time."""
    found = []
    for m in range(len(own["head_kernel"])):
        layer = {n: a[m].astype(np.float64) for n, a in (own | encoder).items()}
        inputs = [x]
        if "mix" in layer:
            for s in range(SIZES):
                angles = x[:, s : s + 1] * layer["frequencies"][s]
                wave = np.hstack([x[:, s : s + 1], np.sin(angles), np.cos(angles)])
                inputs.append(np.maximum(wave @ layer["mix"][s], 0))
        hidden = silu(np.hstack(inputs) @ layer["adapter_kernel"] + layer["adapter_bias"])
        for block in range(len(encoder) // 4):
            up, down = (f"block{block}_{part}" for part in ("up", "down"))
            raised = silu(hidden @ layer[f"{up}_kernel"] + layer[f"{up}_bias"])
            hidden = hidden + raised @ layer[f"{down}_kernel"] + layer[f"{down}_bias"]
        found.append((silu(hidden) @ layer["head_kernel"] + layer["head_bias"])[:, 0])
    return np.mean(found, axis=0)


@pytest.mark.parametrize(
    ("members", "waves", "depth"), [(1, True, 1), (3, True, 2), (2, False, 1), (1, True, 0)]
)
@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 300])
def test_many_rows_and_each_alone_are_what_the_formulas_say(members, waves, depth, rows):
    own, encoder = arrays(members, waves, depth)
    x = np.random.default_rng(1).normal(size=(rows, FEATURES)) * 3
    network = Network(own, encoder)
    assert network.inputs == FEATURES
    says = expected(own, encoder, x)
    np.testing.assert_allclose(network.predict(x), says, rtol=2e-3, atol=2e-3)
    for row in range(min(rows, 5)):
        alone = network.predict(x[row : row + 1])
        np.testing.assert_allclose(alone, says[row : row + 1], rtol=2e-3, atol=2e-3)


def test_a_kind_is_extracted_with_its_own_features_alone():
    """Of two kinds in one set of parameters, the second has fewer features and sizes."""
    own, encoder = arrays()
    wide = {name: np.repeat(value[:, None], 2, 1) for name, value in own.items()}
    shared = {name: value[:, None] for name, value in encoder.items()}
    network = extracted({**wide, **shared}, 1, FEATURES - 1, SIZES - 1)
    assert network.inputs == FEATURES - 1
    kernel = own["adapter_kernel"][0]
    kept = np.concatenate([kernel[: FEATURES - 1], kernel[FEATURES : FEATURES + 2 * WIDTH]])
    np.testing.assert_array_equal(network.own["adapter_kernel"][0], kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_kernel": None}, "not the arrays of a network"),
        ({"head_bias": np.full((1, 1, 1), np.nan, np.float16)}, "head_bias .*expected finite f16"),
        ({"head_bias": np.zeros((1, 1, 1), np.float32)}, "expected finite f16"),
        ({"adapter_bias": np.zeros((1, 1, 3), np.float16)}, "not the arrays of a network"),
        ({"mix": np.zeros((1, SIZES, 4, WIDTH), np.float16)}, "not the arrays of a network"),
        ({"frequencies": np.zeros((1, 1, WAVES), np.float16)}, "not the arrays of a network"),
        ({"head_kernel": np.zeros((1, UNITS, 2), np.float16)}, "not the arrays of a network"),
        ({"head_bias": np.zeros((1, 1, 1, 1), np.float16)}, "not the arrays of a network"),
        ({"adapter_kernel": np.zeros((1, 2, UNITS), np.float16)}, "not the arrays of a network"),
    ],
)
def test_arrays_that_are_no_network(change, message):
    own, encoder = arrays()
    own = {name: value for name, value in {**own, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        Network(own, encoder)
