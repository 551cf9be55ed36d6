"""Losses: values by hand and by optax, gradients, extreme logits, shapes that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from packd_jax import losses

BITS = 24


def draw(seed, *shape):
    """Logits of a student, labels, and logits of a teacher."""
    rng = np.random.default_rng(seed)
    student, teacher = (3 * rng.standard_normal((2, *shape))).astype(np.float32)
    labels = rng.integers(0, 2, shape).astype(np.float32)
    return jnp.asarray(student), jnp.asarray(labels), jnp.asarray(teacher)


def loss_by_hand(student, labels, teacher, alpha, temperature, weight):
    """alpha BCE + (1 - alpha) w KL in float64, straight from the definitions."""
    s, y, t = (np.asarray(x, np.float64) for x in (student, labels, teacher))
    q, p = 1 / (1 + np.exp(-s)), 1 / (1 + np.exp(-t / temperature))
    q_soft = 1 / (1 + np.exp(-s / temperature))
    bce = -(y * np.log(q) + (1 - y) * np.log(1 - q)).mean()
    kl = (p * np.log(p / q_soft) + (1 - p) * np.log((1 - p) / (1 - q_soft))).mean()
    return alpha * bce + (1 - alpha) * weight * kl


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 5, 2)])
def test_unpack_bits_is_numpy_unpackbits(shape):
    packed = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    bits = jax.jit(losses.unpack_bits)(packed)
    assert bits.dtype == jnp.float32
    np.testing.assert_array_equal(bits, np.unpackbits(packed, axis=-1, bitorder="little"))


def test_cross_entropy_is_that_of_numpy_and_optax():
    logits, labels, _ = draw(1, 6, BITS)
    loss = jax.jit(losses.cross_entropy)(logits, labels)
    assert loss.shape == (6, BITS)
    probability = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    by_hand = -np.log(np.where(np.asarray(labels) == 1, probability, 1 - probability))
    np.testing.assert_allclose(loss, by_hand, rtol=2e-5, atol=5e-7)
    optaxs = optax.sigmoid_binary_cross_entropy(logits, labels)
    np.testing.assert_allclose(loss, optaxs, rtol=2e-5, atol=5e-7)


def test_cross_entropy_takes_probabilities_and_its_gradient_is_their_difference():
    logits, _, teacher = draw(2, BITS)
    logits = logits.at[0].set(0.0)  # where the pieces of the formula meet
    targets = jax.nn.sigmoid(teacher)
    gradient = jax.grad(lambda s: losses.cross_entropy(s, targets).sum())(logits)
    np.testing.assert_allclose(gradient, jax.nn.sigmoid(logits) - targets, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_soft_loss_is_the_divergence_and_zero_for_equal_networks(temperature):
    student, labels, teacher = draw(3, BITS)
    soft = jax.nn.sigmoid(teacher / temperature)
    loss = losses.soft_loss(student, soft, temperature)
    by_hand = loss_by_hand(student, labels, teacher, 0.0, temperature, 1.0)
    np.testing.assert_allclose(loss.mean(), by_hand, rtol=1e-4)
    assert loss.min() > -1e-6
    np.testing.assert_allclose(losses.soft_loss(teacher, soft, temperature), 0.0, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (5.0, 25.0), (2.0, 0.5)])
def test_distillation_loss_is_the_formula(alpha, temperature, weight):
    student, labels, teacher = draw(4, BITS)
    soft = jax.nn.sigmoid(teacher / temperature)
    loss = losses.distillation_loss(student, labels, soft, alpha, temperature, weight)
    assert loss.shape == ()
    expected = loss_by_hand(student, labels, teacher, alpha, temperature, weight)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


@pytest.mark.parametrize("loss", [losses.distillation_loss, losses.distillation_objective])
def test_alpha_of_one_is_plain_cross_entropy(loss):
    student, labels, teacher = draw(5, BITS)
    plain = losses.cross_entropy(student, labels).mean()
    for temperature in (1.0, 5.0):
        value = loss(student, labels, jax.nn.sigmoid(teacher / temperature), 1.0, temperature)
        np.testing.assert_allclose(value, plain, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 5.0])
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_the_objective_has_the_gradient_of_the_loss(alpha, temperature, weight):
    student, labels, teacher = draw(6, BITS)
    soft = jax.nn.sigmoid(teacher / temperature)
    of_loss, of_objective = (
        jax.grad(f)(student, labels, soft, alpha, temperature, weight)
        for f in (losses.distillation_loss, losses.distillation_objective)
    )
    np.testing.assert_allclose(of_objective, of_loss, atol=1e-7)
    s, y, t = (np.asarray(x, np.float64) for x in (student, labels, teacher))
    hard = 1 / (1 + np.exp(-s)) - y
    # d KL / d s = (q - p) / T
    gap = 1 / (1 + np.exp(-s / temperature)) - 1 / (1 + np.exp(-t / temperature))
    by_hand = (alpha * hard + (1 - alpha) * weight * gap / temperature) / BITS
    np.testing.assert_allclose(of_loss, by_hand, atol=1e-7)


def test_objective_and_loss_differ_by_what_no_student_changes():
    first, labels, teacher = draw(7, BITS)
    second = draw(8, BITS)[0]
    soft = jax.nn.sigmoid(teacher)
    gaps = [
        losses.distillation_objective(s, labels, soft, 0.3)
        - losses.distillation_loss(s, labels, soft, 0.3)
        for s in (first, second)
    ]
    np.testing.assert_allclose(gaps[0], gaps[1], atol=1e-6)


@pytest.mark.parametrize("loss", [losses.distillation_loss, losses.distillation_objective])
def test_a_batch_is_a_vmap_with_an_alpha_per_row(loss):
    student, labels, teacher = draw(9, 5, BITS)
    soft, alpha = jax.nn.sigmoid(teacher), jnp.linspace(0, 1, 5)
    batched = jax.jit(jax.vmap(loss))(student, labels, soft, alpha)
    one_by_one = [loss(student[i], labels[i], soft[i], alpha[i]) for i in range(5)]
    np.testing.assert_allclose(batched, one_by_one, rtol=1e-5)


def test_extreme_logits_stay_finite():
    student = jnp.array([-1e30, -1e4, -100.0, 0.0, 100.0, 1e4, 1e30, 80.0])
    labels = jnp.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    soft = jnp.array([0.0, 1.0, 0.0, 0.5, 1.0, 1.0, 0.0, 1e-30])
    for loss in (losses.distillation_loss, losses.distillation_objective):
        for temperature in (1.0, 5.0):
            value, gradient = jax.value_and_grad(loss)(student, labels, soft, 0.1, temperature)
            assert np.isfinite(value) and np.isfinite(gradient).all()
    np.testing.assert_allclose(
        losses.cross_entropy(student[1:3], labels[1:3]), [0.0, 100.0], rtol=1e-6
    )


@pytest.mark.parametrize("loss", [losses.distillation_loss, losses.distillation_objective])
@pytest.mark.parametrize("temperature", [1.0, 5.0])
@pytest.mark.parametrize("wrong", ["labels", "soft_targets"])
def test_what_does_not_fit_is_refused(loss, temperature, wrong):
    good = {"labels": jnp.ones(BITS), "soft_targets": jnp.ones(BITS)}
    logits = jnp.zeros(BITS)
    for shape in [(1,), (BITS - 1,), (1, BITS)]:
        bad = good | {wrong: jnp.ones(shape)}
        with pytest.raises(ValueError, match="expected equal shapes"):
            loss(logits, bad["labels"], bad["soft_targets"], 0.5, temperature)
    bad = good | {wrong: jnp.ones(BITS, jnp.uint8)}
    with pytest.raises(TypeError, match="uint8: expected floats"):
        loss(logits, bad["labels"], bad["soft_targets"], 0.5, temperature)


def test_elementwise_losses_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"targets \(3,\) and logits \(4,\)"):
        losses.cross_entropy(jnp.zeros(4), jnp.zeros(3))
    with pytest.raises(TypeError, match="bool: expected floats"):
        losses.cross_entropy(jnp.zeros(4), jnp.zeros(4, bool))
    with pytest.raises(ValueError, match=r"soft_targets \(2, 4\) and logits \(4,\)"):
        losses.soft_loss(jnp.zeros(4), jnp.zeros((2, 4)), 1.0)
