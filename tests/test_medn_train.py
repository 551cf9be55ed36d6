import jax
import numpy as np
import optax
import pytest

from latency_jax.medn import Medn, MednConfig
from latency_jax.medn_train import Rows, State, fit, latency_error, loss, make_run, stacked

SMALL = MednConfig(
    width=16, frequencies=2, embedding=2, steps=300, batch_size=32, learning_rate=1e-2
)


def rows(count, seed, inputs=3, slope=1.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, inputs)).astype(np.float32)
    y = slope * np.sin(2 * x[:, 0]) + 0.5 * x[:, 1]
    return Rows(x, y.astype(np.float32), {3: 3, 4: 2}[inputs])


TRAIN = [rows(400, 0), rows(150, 1, inputs=4, slope=-1.0)]
VALIDATION = [rows(100, 2), rows(60, 3, inputs=4, slope=-1.0)]


@pytest.fixture(scope="module")
def fitted():
    return fit(TRAIN, VALIDATION, MednConfig(**{**vars(SMALL), "members": 2}), seed=0, looks=5)


def test_kinds_are_padded_with_zeros():
    found = stacked(TRAIN)
    assert found.features.shape == (2, 400, 4) and found.target.shape == (2, 400)
    assert found.counts.tolist() == [400, 150]
    np.testing.assert_array_equal(found.features[0, :, :3], TRAIN[0].features)
    np.testing.assert_array_equal(found.target[1, :150], TRAIN[1].target)
    assert not found.features[0, :, 3].any() and not found.features[1, 150:].any()


def test_errors_of_kinds_count_the_same_and_padding_not_at_all():
    net = Medn((3, 4), (3, 2), SMALL)
    rows_of = stacked(VALIDATION)
    params = net.init(jax.random.key(0), rows_of.features)["params"]
    out = np.asarray(net.apply({"params": params}, rows_of.features))[..., 0]
    own = [np.abs(out[k, : len(r.target)] - r.target).mean() for k, r in enumerate(VALIDATION)]
    assert latency_error(net, params, rows_of) == pytest.approx(np.mean(own), rel=1e-5)


def test_loss_is_of_latency_and_of_what_is_reconstructed():
    net = Medn((3, 4), (3, 2), MednConfig(**{**vars(SMALL), "reconstruct": 0.25}))
    x, y = stacked(VALIDATION)[:2]
    params = net.init(jax.random.key(0), x)["params"]
    out = np.asarray(net.apply({"params": params}, x))
    expected = np.abs(out[..., 0] - y).mean() + 0.25 * np.square(out[..., 1:] - x).mean()
    assert loss(net, params, x, y) == pytest.approx(float(expected), rel=1e-5)
    plain = Medn((3, 4), (3, 2), SMALL)
    params = plain.init(jax.random.key(0), x)["params"]
    expected = np.abs(np.asarray(plain.apply({"params": params}, x))[..., 0] - y).mean()
    assert loss(plain, params, x, y) == pytest.approx(float(expected), rel=1e-5)


def test_learns_both_kinds(fitted):
    net = Medn((3, 4), (3, 2), SMALL)
    checks = stacked(VALIDATION)
    spread = np.mean([np.abs(r.target - np.median(r.target)).mean() for r in VALIDATION])
    for member in range(2):
        params = jax.tree.map(lambda p, m=member: p[m], fitted.params)
        assert latency_error(net, params, checks) < 0.4 * spread
    assert fitted.looks[-1] < 0.5 * fitted.looks[0]


def test_members_differ_and_a_seed_says_all(fitted):
    kernel = fitted.params["adapter_kernel"]
    assert kernel.shape[0] == 2 and np.abs(kernel[0] - kernel[1]).max() > 0.01
    config = MednConfig(**{**vars(SMALL), "members": 2})
    again = fit(TRAIN, VALIDATION, config, seed=0, looks=5)
    jax.tree.map(np.testing.assert_array_equal, again.params, fitted.params)
    other = fit(TRAIN, VALIDATION, config, seed=1, looks=5)
    assert np.abs(other.params["adapter_kernel"] - kernel).max() > 0.01


def test_the_best_look_is_kept():
    # Validation that contradicts training gets worse the more is learnt.
    wrong = [r._replace(target=-r.target) for r in VALIDATION]
    found = fit(TRAIN, wrong, SMALL, seed=0, looks=6)
    params = jax.tree.map(lambda p: p[0], found.params)
    kept = latency_error(Medn((3, 4), (3, 2), SMALL), params, stacked(wrong))
    assert kept == pytest.approx(min(found.looks), rel=1e-5)
    assert min(found.looks) < found.looks[-1]


def test_a_run_goes_on_where_another_stopped():
    net = Medn((3, 4), (3, 2), SMALL)
    optimiser = optax.adam(1e-3)
    keys = jax.random.split(jax.random.key(0), 1)
    params = jax.vmap(lambda k: net.init(k, stacked(TRAIN).features[:, :1])["params"])(keys)
    start = State(params, jax.vmap(optimiser.init)(params), params)
    once = make_run(net, optimiser, stacked(TRAIN), 6)(start, keys, 0)
    half = make_run(net, optimiser, stacked(TRAIN), 3)
    twice = half(half(start, keys, 0), keys, 1)
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(twice)):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_kinds_without_validation_are_refused():
    with pytest.raises(ValueError, match="rows of 2 and 1 kinds"):
        fit(TRAIN, VALIDATION[:1], SMALL, seed=0)
