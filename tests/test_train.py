"""Training: a stack against Adam by hand, resumption, targets, and the choice of the best."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packd_jax import losses, metrics, train, train_step
from packd_jax.batching import RowOrder
from packd_jax.config import FeatureConfig, ModelConfig, TrainConfig
from packd_jax.distill import encode_soft
from packd_jax.evaluation import evaluate, evaluate_groups
from packd_jax.features import encode, learn_pc_vocabulary
from packd_jax.models import InputSpec, build_model
from packd_jax.traces.load_trace import LoadTrace

TOKENS = FeatureConfig(
    look_back=4,
    horizon=8,
    delta_bound=8,
    delta_exact=8,
    delta_log_buckets=3,
    pc_vocabulary=4,
    pc_hash_buckets=2,
)
SEGMENTS = dataclasses.replace(TOKENS, encoding="segments")
MODEL = build_model(ModelConfig("token_mlp", width=8), InputSpec.of(TOKENS))
CONFIG = TrainConfig(
    steps=12, batch_size=16, learning_rate=1e-2, warmup_steps=3, evaluations=2, schedule="cosine"
)
RUNS = train.Runs(
    seed=np.array([3, 4], np.int32),
    order=np.array([0, 1], np.int32),
    learning_rate=np.array([1e-2, 3e-2], np.float32),
)


@pytest.fixture(scope="module", autouse=True)
def _short_chunks():
    # Several calls between two evaluations, the last of them not full.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "CHUNK", 4)
        yield


def trace(rows=420):
    """Three strided streams that take turns, and now and then a random access."""
    rng = np.random.default_rng(0)
    stream = rng.integers(0, 3, rows)
    block = np.zeros(rows, np.int64)
    for s, stride in enumerate((1, 2, -3)):
        mine = stream == s
        block[mine] = 10**6 * (s + 1) + stride * np.arange(mine.sum())
    block = np.where(rng.random(rows) < 0.1, rng.integers(0, 2**30, rows), block)
    pc = (0x400 + 4 * stream).astype(np.uint64)
    steps = np.arange(rows)
    return LoadTrace(steps, steps, (64 * block).astype(np.uint64), pc, np.zeros(rows, bool))


def splits(features):
    loads = trace()
    vocabulary = learn_pc_vocabulary([loads.pc[:300]], features.pc_vocabulary)
    return [
        encode(loads, window, features, vocabulary) for window in (slice(0, 300), slice(300, 420))
    ]


TRAIN, VALIDATION = splits(TOKENS)


def orders():
    rows = np.arange(TRAIN.rows)
    return [RowOrder(rows, 0), RowOrder(rows[: TRAIN.rows // 2], 1)]


def fit(config=CONFIG, runs=RUNS, **options):
    options = {"orders": orders(), "train": TRAIN, "validation": VALIDATION, **options}
    return train.fit(options.pop("model", MODEL), runs=runs, config=config, **options)


def run_of(tree, index):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def assert_trees_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_array_equal(x, y)


def assert_trees_close(a, b, **tolerance):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(x, y, **{"rtol": 1e-3, "atol": 1e-5, **tolerance})


def rate_by_hand(step, config):
    """Share of the learning rate: rise over the warm-up, then half a cosine to zero."""
    rise = min((step + 1) / max(config.warmup_steps, 1), 1)
    if config.schedule == "constant":
        return rise
    done = max(step - config.warmup_steps, 0) / (config.steps - config.warmup_steps)
    return rise * 0.5 * (1 + np.cos(np.pi * done))


def train_by_hand(model, variables, examples, rows, learning_rate, config, loss):
    """Adam in NumPy, one network, one step after another; `loss(logits, labels, rows)`."""

    def objective(params, stats, inputs, labels, rows):
        logits, new = model.apply(
            {"params": params, "batch_stats": stats}, inputs, train=True, mutable=["batch_stats"]
        )
        return loss(logits, labels, rows), new.get("batch_stats", {})

    def adam(p, m, v, step):
        m, v = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
        rate = learning_rate * rate_by_hand(step, config)
        return np.float32(p - rate * m / (np.sqrt(v) + 1e-8))

    gradient_of = jax.jit(jax.grad(objective, has_aux=True))
    params, stats = variables["params"], variables["batch_stats"]
    mean = jax.tree.map(np.zeros_like, params)
    square = jax.tree.map(np.zeros_like, params)
    for step, batch in enumerate(rows):
        part = examples.take(batch)
        labels = np.unpackbits(part.labels, axis=1, bitorder="little").astype(np.float32)
        gradient, stats = gradient_of(params, stats, part.inputs, labels, batch)
        gradient = jax.tree.map(np.asarray, gradient)
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, gradient)
        params = jax.tree.map(functools.partial(adam, step=step), params, mean, square)
    return {"params": params, "batch_stats": stats}


def plain_loss(logits, labels, rows):
    return optax.sigmoid_binary_cross_entropy(logits, labels).mean()


@pytest.fixture(scope="module")
def plain():
    return fit()


@pytest.fixture(scope="module")
def last():
    """One evaluation alone, so that the best parameters are the last."""
    return fit(dataclasses.replace(CONFIG, evaluations=1))


def initial(model, runs, examples):
    sample = {name: jnp.asarray(v[:1]) for name, v in examples.inputs.items()}
    state = train_step.init_state(model, runs.seed, sample)
    return {"params": state.params, "batch_stats": state.batch_stats}


def test_every_run_of_a_stack_is_adam_by_hand(last):
    start = initial(MODEL, RUNS, TRAIN)
    for run in range(2):
        rows = orders()[run].steps(0, 12, 16)
        rate = RUNS.learning_rate[run]
        expected = train_by_hand(MODEL, run_of(start, run), TRAIN, rows, rate, CONFIG, plain_loss)
        assert_trees_close(run_of(last.variables, run), expected)
        moved = jax.tree.leaves(jax.tree.map(np.subtract, expected, run_of(start, run)))
        assert max(np.abs(m).max() for m in moved) > 0.03


def test_a_stack_is_its_runs_trained_apart(plain):
    for run in range(2):
        runs = train.Runs(*(column[run : run + 1] for column in RUNS[:3]))
        alone = fit(runs=runs._replace(order=np.zeros(1, np.int32)), orders=[orders()[run]])
        assert_trees_close(run_of(plain.variables, run), run_of(alone.variables, 0))
        np.testing.assert_allclose(
            np.array(plain.info.loss)[:, run], np.ravel(alone.info.loss), rtol=1e-4
        )
        np.testing.assert_allclose(plain.f1[run], alone.f1[0], atol=2e-3)


def test_executions_train_the_same(plain):
    for execution in ("loop", "epoch"):
        found = fit(execution=execution)
        assert_trees_close(found.variables, plain.variables)
        np.testing.assert_allclose(found.info.loss, plain.info.loss, rtol=1e-5)


def test_progress_and_info_tell_what_happened(plain):
    seen = []
    again = fit(progress=lambda step, loss: seen.append((step, loss)))
    assert_trees_equal(again.variables, plain.variables)
    assert [step for step, _ in seen] == [4, 6, 10, 12]
    info = again.info
    assert info.step == [6, 12]
    means = [
        np.average([loss for _, loss in part], weights=[4, 2]) for part in (seen[:2], seen[2:])
    ]
    np.testing.assert_allclose(np.mean(info.loss, axis=1), means, rtol=1e-5)
    assert 0 < info.seconds[0] < info.seconds[1]


def test_the_loss_falls_and_the_score_rises():
    config = dataclasses.replace(CONFIG, steps=240, evaluations=4)
    result = fit(config)
    loss = np.array(result.info.loss)
    assert (loss[-1] < 0.75 * loss[0]).all()
    everything = metrics.constant_histogram(np.zeros(16), VALIDATION.labels)
    baseline = metrics.f1_curve(everything).max()  # of predicting every bit
    assert (result.f1 > baseline + 0.05).all()


def test_the_best_parameters_score_what_was_reported(plain):
    wild = RUNS._replace(learning_rate=np.array([3e-3, 1.0], np.float32))
    for result in (plain, fit(dataclasses.replace(CONFIG, evaluations=6), wild)):
        histogram = evaluate(MODEL, result.variables, VALIDATION)
        for run in range(2):
            best = metrics.best_threshold(histogram.run(run))
            assert best == result.threshold_bin[run]
            assert metrics.score_at(histogram.run(run), best).f1 == result.f1[run]
        np.testing.assert_array_equal(result.f1, np.max(result.info.f1, axis=0))


def test_each_run_may_be_judged_on_rows_of_its_own(plain):
    parts = [np.arange(0, 60), np.arange(60, VALIDATION.rows)]
    result = fit(validation_rows=parts)
    for run, part in enumerate(parts):
        one = jax.tree.map(lambda leaf, run=run: leaf[run : run + 1], result.variables)
        histogram = evaluate(MODEL, one, VALIDATION.take(part)).run(0)
        assert metrics.f1_curve(histogram).max() == result.f1[run]
    nothing = fit(validation_rows=[np.arange(0, 60), np.zeros(0, np.int64)])
    assert nothing.f1[1] == 0 and nothing.f1[0] == result.f1[0]


def test_groups_of_rows_are_judged_apart(plain):
    group = np.random.default_rng(0).choice(np.array([0, 2], np.uint8), VALIDATION.rows)
    found = evaluate_groups(MODEL, plain.variables, VALIDATION, group, 3)
    for g in range(3):
        own = VALIDATION.take(group == g)
        alone = evaluate(MODEL, plain.variables, own)
        for a, b in zip(found[g], alone):
            assert a.shape == b.shape and a.sum(axis=1).max() <= own.rows * 16
            # Batches of other sizes may round a logit across the edge of a bin.
            assert np.abs(np.cumsum(a, axis=1) - np.cumsum(b, axis=1)).max() <= 2
        assert (sum(h.sum() for h in found[g])) == 2 * own.rows * 16


def interrupted_then_resumed(directory, stop_at, **options):
    """Trains until `progress` is called with `stop_at`, then again to the end."""

    class Stop(Exception):
        pass

    def stop(step, loss):
        if step >= stop_at:
            raise Stop

    with pytest.raises(Stop):
        fit(directory=directory, progress=stop, **options)
    steps = []
    result = fit(directory=directory, progress=lambda step, loss: steps.append(step), **options)
    return result, steps


def assert_same_fit(a, b):
    assert_trees_equal(a.variables, b.variables)
    np.testing.assert_array_equal(a.f1, b.f1)
    np.testing.assert_array_equal(a.threshold_bin, b.threshold_bin)
    assert a.info._replace(seconds=[]) == b.info._replace(seconds=[])


@pytest.mark.parametrize(("stop_at", "resumed"), [(4, [4, 6, 10, 12]), (10, [10, 12])])
def test_an_interrupted_fit_ends_with_the_same_bits(plain, tmp_path, stop_at, resumed):
    result, steps = interrupted_then_resumed(tmp_path, stop_at)
    assert steps == resumed  # from the last evaluation on, not from the beginning
    assert_same_fit(result, plain)


def test_a_finished_fit_is_read_and_not_trained_again(plain, tmp_path):
    fit(directory=tmp_path)
    steps = []
    again = fit(directory=tmp_path, progress=lambda step, loss: steps.append(step))
    assert steps == []
    assert_same_fit(again, plain)


CLUSTER = np.stack([np.arange(TRAIN.rows) % 2, np.arange(TRAIN.rows) % 3 == 0]).astype(np.uint8)
TEACHER_LOGITS = 3 * np.random.default_rng(7).standard_normal((2, TRAIN.rows, 16))
ALPHA = np.array([[0.1, 0.9], [0.5, 0.0]], np.float32)
LEARNERS = RUNS._replace(soft=np.array([1, 0], np.int32), alpha=ALPHA)


def targets(temperature=1.0, dtype="float16"):
    return train.Targets(encode_soft(TEACHER_LOGITS, temperature, dtype), CLUSTER)


def test_soft_targets_enter_with_the_alpha_of_their_rows_cluster():
    config = dataclasses.replace(CONFIG, evaluations=1, schedule="constant")
    soft = targets(2.0)
    result = fit(config, LEARNERS, targets=soft, temperature=2.0, soft_weight=4.0)
    start = initial(MODEL, RUNS, TRAIN)
    for run in range(2):
        told = np.asarray(soft.values[LEARNERS.soft[run]], np.float32)
        alpha = ALPHA[run][CLUSTER[LEARNERS.soft[run]]]

        def loss(logits, labels, rows, told=told, alpha=alpha):
            each = jax.vmap(losses.distillation_loss, in_axes=(0, 0, 0, 0, None, None))
            soft_rows, alphas = jnp.asarray(told)[rows], jnp.asarray(alpha)[rows]
            return each(logits, labels, soft_rows, alphas, 2.0, 4.0).mean()

        rows = orders()[run].steps(0, 12, 16)
        rate = RUNS.learning_rate[run]
        expected = train_by_hand(MODEL, run_of(start, run), TRAIN, rows, rate, config, loss)
        assert_trees_close(run_of(result.variables, run), expected)


@pytest.fixture(scope="module")
def distilled():
    return fit(runs=LEARNERS, targets=targets())


def test_with_alpha_one_soft_targets_are_silent(plain, distilled):
    silent = LEARNERS._replace(alpha=np.ones((2, 2), np.float32))
    assert_trees_close(fit(runs=silent, targets=targets()).variables, plain.variables)
    changed = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max()), distilled.variables, plain.variables
    )
    assert max(jax.tree.leaves(changed)) > 1e-2


def test_soft_targets_on_disk_teach_what_those_in_memory_do(distilled, tmp_path):
    files = []
    for i, values in enumerate(targets().values):
        np.save(tmp_path / f"{i}.npy", values)
        files.append(np.load(tmp_path / f"{i}.npy", mmap_mode="r"))
    result = fit(runs=LEARNERS, targets=train.Targets(files, CLUSTER, on_disk=True))
    assert_trees_close(result.variables, distilled.variables, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(result.info.loss, distilled.info.loss, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "error"), [("float16", 2**-11), ("uint8", 1 / 509)])
def test_stored_targets_are_decoded_to_probabilities(dtype, error):
    decoded = train_step.decode_soft(jnp.asarray(targets(dtype=dtype).values))
    assert decoded.dtype == jnp.float32
    exact = 1 / (1 + np.exp(-TEACHER_LOGITS))
    assert 0 < np.abs(decoded - exact).max() < error
    assert train_step.decode_soft(jnp.array([0, 255], jnp.uint8)).tolist() == [0.0, 1.0]


def test_batch_statistics_are_carried_along():
    model = build_model(ModelConfig("resnet", width=2, depth=1), InputSpec.of(SEGMENTS))
    examples, validation = splits(SEGMENTS)
    config = dataclasses.replace(CONFIG, evaluations=2, schedule="constant")
    options = {"model": model, "train": examples, "validation": validation}
    start = initial(model, RUNS, examples)
    result = fit(config, **options)
    done = result.info.step[train._chosen(result.info)[1]]
    rows, rate = orders()[1].steps(0, done, 16), RUNS.learning_rate[1]
    expected = train_by_hand(model, run_of(start, 1), examples, rows, rate, config, plain_loss)
    assert_trees_close(run_of(result.variables, 1), expected, rtol=5e-3, atol=1e-4)
    assert len(jax.tree.leaves(result.variables["batch_stats"])) > 2


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_the_rate_warms_up_and_falls_as_scheduled(schedule, warmup):
    config = TrainConfig(steps=20, warmup_steps=warmup, schedule=schedule)
    steps = jnp.arange(20)
    factor = jax.jit(train_step.rate_factor, static_argnums=3)(
        steps, jnp.float32(20), jnp.float32(warmup), schedule
    )
    expected = [rate_by_hand(step, config) for step in range(20)]
    np.testing.assert_allclose(factor, expected, atol=1e-6)
    if schedule == "cosine":
        decay = optax.cosine_decay_schedule(1.0, 20 - warmup)
        np.testing.assert_allclose(factor[warmup:], decay(steps[warmup:] - warmup), atol=1e-6)
    assert float(factor[warmup]) == 1.0


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=3, max_size=3), min_size=1),
    st.integers(0, 4),
)
def test_the_best_evaluation_within_patience_is_kept(scores, patience):
    info = train.Info([], [], [], [], [], [])
    kept = {"params": np.full((3, 2), -1)}
    for look, f1 in enumerate(scores):
        better = train._improves(info, f1, patience)
        kept = train._select(jnp.asarray(better), {"params": jnp.full((3, 2), look)}, kept)
        seen = (look, [0.0] * 3, f1, [look] * 3, better.tolist(), 0.0)
        info = train.Info._make([*column, value] for column, value in zip(info, seen))
    result = train._result(kept, info, 3)
    for run in range(3):
        best, best_look = -1.0, 0
        for look, f1 in enumerate(scores):
            if patience and look - best_look > patience:
                break  # so many looks without a gain: closed
            if f1[run] > best:
                best, best_look = f1[run], look
        assert result.f1[run] == best
        assert result.threshold_bin[run] == best_look
        assert result.variables["params"][run].tolist() == [best_look] * 2


def test_execution_is_as_configured():
    for execution in ("scan", "loop"):
        config = TrainConfig(execution=execution)
        assert train.choose_execution(config, ModelConfig()) == execution
    assert train.choose_execution(TrainConfig(), ModelConfig()) in ("scan", "loop")
