"""Training and its soft targets: ours, in turn with what it should keep up with."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from packd_jax import ensemble, train
from packd_jax.benchmarks.scales import TOKENS, Scale, examples
from packd_jax.benchmarks.stacks import RATE, Stack, plain_runs
from packd_jax.benchmarks.timing import Line, compare, make_line, repeat, take_turns
from packd_jax.config import EntryConfig
from packd_jax.distill import write_soft_targets
from packd_jax.features import Examples, unpack_labels
from packd_jax.models import InputSpec, build_model

EXECUTIONS = ("scan", "loop")
Steps = Callable[[int], Any]  # takes so many steps and waits for the parameters, its result


def distill_throughput(scale: Scale, repeats: int) -> Iterator[Line]:
    """Training with soft targets, in turn with training without any."""
    for name, (features, config) in scale.students.items():
        model, data = build_model(config, InputSpec.of(features)), examples(scale, features)
        plain = our_steps(model, data, plain_runs(1), scale)
        distilled = our_steps(model, data, _distilled(plain_runs(1)), scale, _targets(data))
        steps = _step_count(scale, plain)
        calls = {"kd": partial(distilled, steps), "no_kd": partial(plain, steps)}
        seconds, work = take_turns(calls, repeats), steps * scale.batch_size
        title = f"distill_throughput {name}"
        yield compare(title, "samples/s", work, seconds["kd"], "no_kd", seconds["no_kd"])


def train_step(scale: Scale, repeats: int) -> Iterator[Line]:
    """Steps as the study takes them, in turn with a plain jitted step on a ready batch."""
    for name, (features, config) in scale.networks.items():
        model, data = build_model(config, InputSpec.of(features)), examples(scale, features)
        plain = plain_steps(model, data, scale)
        steps = _step_count(scale, plain)
        calls = {"plain jit": partial(plain, steps)}
        for execution in EXECUTIONS:
            ours = our_steps(model, data, plain_runs(1), scale, execution=execution)
            calls[execution] = partial(ours, steps)
        seconds = take_turns(calls, repeats)
        for execution in EXECUTIONS:
            title = f"train_step {name}, {execution}"
            own, other = seconds[execution], seconds["plain jit"]
            yield compare(title, "steps/s", steps, own, "plain jit", other)


def stack(scale: Scale, repeats: int) -> Iterator[Line]:
    """All runs of a study as one program, in turn with the same runs one after another."""
    count = scale.stack
    for name, (features, config) in scale.students.items():
        model, data = build_model(config, InputSpec.of(features)), examples(scale, features)
        runs, targets = _distilled(plain_runs(count)), _targets(data)
        together = our_steps(model, data, runs, scale, targets)
        alone = [
            our_steps(model, data, jax.tree.map(lambda x, r=r: x[r : r + 1], runs), scale, targets)
            for r in range(count)
        ]
        steps = _step_count(scale, together)

        def one_by_one(steps: int = steps, alone: list[Steps] = alone) -> None:
            for one in alone:
                one(steps)

        seconds = take_turns({"all": partial(together, steps), "one by one": one_by_one}, repeats)
        work = count * steps * scale.batch_size
        title = f"stack of {count}, {name}"
        yield compare(title, "samples/s", work, seconds["all"], "one by one", seconds["one by one"])


def soft_targets(scale: Scale, repeats: int) -> Iterator[Line]:
    """Soft targets of three teachers, routed, written and committed."""
    data, count = examples(scale, TOKENS), 3
    model = build_model(EntryConfig().teacher, InputSpec.of(TOKENS))
    variables = ensemble.init(model, np.arange(count), _sample(data))
    cluster = (np.arange(data.rows) % count).astype(np.uint8)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "soft.npy"

        def write() -> None:
            path.unlink(missing_ok=True)
            write_soft_targets(path, model, variables, data, cluster)

        seconds = repeat(write, repeats)
    yield make_line("soft_targets tokens token_mlp teachers", "rows/s", data.rows / seconds)


def _targets(data: Examples) -> train.Targets:
    values = np.random.default_rng(0).random((1, *unpack_labels(data.labels).shape), np.float32)
    return train.Targets(
        jnp.asarray(values.astype(np.float16)), jnp.zeros((1, data.rows), jnp.uint8)
    )


def _sample(data: Examples) -> dict[str, jax.Array]:
    return {name: jnp.asarray(values[:1]) for name, values in data.inputs.items()}


def _distilled(runs: train.Runs) -> train.Runs:
    return runs._replace(
        soft=np.zeros_like(runs.order), alpha=np.full((len(runs.order), 1), 0.1, np.float32)
    )


def our_steps(
    model: Any,
    data: Examples,
    runs: train.Runs,
    scale: Scale,
    targets: train.Targets | None = None,
    execution: str = "scan",
) -> Steps:
    """Steps of all runs as `train.fit` takes them, the drawing of rows included."""
    stack, done = Stack(model, data, runs, scale.batch_size, execution, targets), 0

    def take(steps: int) -> Any:
        nonlocal done
        stop = done + steps
        while done < stop:
            count = min(train.CHUNK, stop - done)
            loss = stack.advance(stack.feed.take(done, count, train.CHUNK), count)
            done += count
            jax.block_until_ready(loss)
        return jax.block_until_ready(stack.state).params

    return take


def plain_steps(model: Any, data: Examples, scale: Scale) -> Steps:
    """Steps of one network, written out by hand, on one batch that is ready on the device."""
    batch = data.take(slice(0, scale.batch_size))
    inputs = {name: jnp.asarray(values) for name, values in batch.inputs.items()}
    labels = jnp.asarray(unpack_labels(batch.labels).astype(np.float32))
    optimizer = optax.adam(RATE)

    def init() -> Any:
        stats = model.init(jax.random.key(0), inputs, train=False)
        params = stats.pop("params")
        return params, stats, optimizer.init(params)

    def loss(params: Any, stats: Any, inputs: Any, labels: jax.Array) -> Any:
        variables = {"params": params, **stats}
        logits, stats = model.apply(variables, inputs, train=True, mutable=list(stats))
        return optax.sigmoid_binary_cross_entropy(logits, labels).mean(), stats

    def step(state: Any, inputs: Any, labels: jax.Array) -> Any:
        params, stats, moments = state
        gradient_of = jax.value_and_grad(loss, has_aux=True)
        (value, stats), gradient = gradient_of(params, stats, inputs, labels)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), stats, moments), value

    state, jitted = jax.jit(init)(), jax.jit(step, donate_argnums=0)

    def take(steps: int) -> Any:
        nonlocal state
        for _ in range(steps):
            state, _ = jitted(state, inputs, labels)
        return jax.block_until_ready(state)[0]

    return take


def _step_count(scale: Scale, take: Steps) -> int:
    """How many steps make a repetition: about `scale.repetition_s`."""
    take(1)
    started = time.perf_counter()
    take(1)
    return max(1, round(scale.repetition_s / (time.perf_counter() - started)))
