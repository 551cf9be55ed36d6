import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latency_jax.medn import Medn, MednConfig

SMALL = {"width": 8, "depth": 2, "frequencies": 3, "embedding": 2}
INPUTS, SIZES = (5, 3), (2, 3)


def build(seed=0, **changes):
    net = Medn(INPUTS, SIZES, MednConfig(**{**SMALL, **changes}))
    features = rows(seed, INPUTS, 4)
    return net, net.init(jax.random.key(seed), features)["params"], features


def rows(seed, inputs, count):
    """Features as training stacks them: zeros where a kind has none."""
    x = np.random.default_rng(seed).standard_normal((len(inputs), count, max(inputs)))
    return jnp.asarray(
        x * (np.arange(max(inputs)) < np.array(inputs)[:, None])[:, None], jnp.float32
    )


@pytest.mark.parametrize("frequencies", [0, 3])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("reconstruct", "outputs"), [(0.0, 1), (0.5, 6)])
def test_shapes(frequencies, shared, reconstruct, outputs):
    net, params, x = build(frequencies=frequencies, shared=shared, reconstruct=reconstruct)
    out = jax.jit(net.apply)({"params": params}, x)
    assert out.shape == (2, 4, outputs) and out.dtype == jnp.float32
    encoder = {name: p.shape[0] for name, p in params.items() if name.startswith("block")}
    others = {name: p.shape[0] for name, p in params.items() if not name.startswith("block")}
    assert set(encoder.values()) == {1 if shared else 2} and len(encoder) == 8
    assert set(others.values()) == {2}


def by_hand(params, x, kind, encoder):
    """One row of one kind, as the docstring says it, in plain NumPy."""
    p = {name: np.asarray(value, np.float64) for name, value in params.items()}

    def dense(name, v, group):
        return v @ p[f"{name}_kernel"][group] + p[f"{name}_bias"][group, 0]

    def silu(v):
        return v / (1 + np.exp(-v))

    embedded = np.zeros((max(SIZES), 2))
    for i in range(SIZES[kind]):
        angles = p["frequencies"][kind, i] * x[i]
        waves = np.concatenate([[x[i]], np.sin(angles), np.cos(angles)])
        embedded[i] = np.maximum(waves @ p["mix"][kind, i], 0)
    hidden = silu(dense("adapter", np.concatenate([x, embedded.ravel()]), kind))
    for block in ("block0", "block1"):
        hidden = hidden + dense(
            f"{block}_down", silu(dense(f"{block}_up", hidden, encoder)), encoder
        )
    return dense("head", silu(hidden), kind)


@pytest.mark.parametrize("shared", [True, False])
def test_every_row_is_what_its_own_kind_says(shared):
    net, params, x = build(shared=shared)
    keys = iter(jax.random.split(jax.random.key(9), len(params)))
    params = {n: jax.random.normal(next(keys), v.shape) for n, v in params.items()}  # biases, too
    out = net.apply({"params": params}, x)
    for kind in range(2):
        for row in range(4):
            expected = by_hand(params, np.asarray(x[kind, row]), kind, 0 if shared else kind)
            np.testing.assert_allclose(out[kind, row], expected, rtol=1e-3, atol=1e-3)


def kinds_that_learn(name, shared):
    """The kinds whose latency depends on each part of a parameter, by its leading axis."""
    net, params, x = build(shared=shared)

    def latency(params, kind):
        return jnp.sum(net.apply({"params": params}, x)[kind, :, 0])

    grads = [jax.grad(latency)(params, kind)[name] for kind in range(2)]
    return [[bool(jnp.any(grad[group] != 0)) for group in range(len(grad))] for grad in grads]


@pytest.mark.parametrize("name", ["frequencies", "mix", "adapter_kernel", "head_kernel"])
def test_adapters_and_heads_learn_from_their_own_kind(name):
    assert kinds_that_learn(name, shared=True) == [[True, False], [False, True]]


def test_a_shared_encoder_learns_from_every_kind_and_others_from_one():
    assert kinds_that_learn("block1_up_kernel", shared=True) == [[True], [True]]
    assert kinds_that_learn("block1_up_kernel", shared=False) == [[True, False], [False, True]]


def test_gradients_are_those_of_small_steps():
    net, params, x = build()

    def total(params):
        return jnp.sum(jnp.sin(net.apply({"params": params}, x)))

    # Embeddings have a kink at 0 that a small step may cross, so the layers behind it.
    grads = jax.grad(total)(params)
    for name in ("adapter_kernel", "block0_down_kernel", "head_bias"):
        direction = jax.random.normal(jax.random.key(1), params[name].shape)
        step = 1e-2
        high = total({**params, name: params[name] + step * direction})
        low = total({**params, name: params[name] - step * direction})
        slope = float(jnp.sum(grads[name] * direction))
        assert slope == pytest.approx(float(high - low) / (2 * step), rel=0.02, abs=1e-3)


def test_what_is_beyond_a_kinds_inputs_does_not_matter():
    net, params, x = build()
    noisy = x.at[1, :, INPUTS[1] :].set(7.0)
    out, out_noisy = (net.apply({"params": params}, v) for v in (x, noisy))
    np.testing.assert_array_equal(out[0], out_noisy[0])
    np.testing.assert_array_equal(out[1], out_noisy[1])


def test_other_features_are_refused():
    net, params, x = build()
    with pytest.raises(ValueError, match=r"features \(2, 4, 4\): expected \(2, rows, 5\)"):
        net.apply({"params": params}, x[..., :4])
