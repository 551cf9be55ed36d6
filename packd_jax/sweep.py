"""Grid and random search over any configuration fields, and the Pareto front that comes out.

Points that differ only in the student's learning rate or alpha have networks of equal shape
and equal teachers: they run as one vmapped program. Results are one JSON line a row; a sweep
that was interrupted goes on with the points that are missing.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from packd_jax import results
from packd_jax.config import Config, ConfigError, from_config_dict, to_json_dict
from packd_jax.protocol import prepare
from packd_jax.run_log import RunLog
from packd_jax.splits import encode_splits, open_sources
from packd_jax.students import TEACHERS_OF, Candidate, candidates, train_students
from packd_jax.sweep_table import append_rows, collect, finished, read_rows, settled

Point = dict[str, Any]  # dotted field -> value


def grid(axes: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination of the axes' values."""
    return [dict(zip(axes, values)) for values in itertools.product(*axes.values())]


def random_points(axes: Mapping[str, Sequence[Any]], count: int, seed: int) -> list[Point]:
    """`count` different combinations drawn from the grid (all of it if that is smaller)."""
    everything = grid(axes)
    chosen = np.random.default_rng(seed).permutation(len(everything))[:count]
    return [everything[i] for i in sorted(chosen)]


def parse_axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """`a.b=(1, 2, 3)` as a field and its values; raises ConfigError for anything else."""
    key, found, values = text.partition("=")
    try:
        parsed = ast.literal_eval(values)  # literals only: nothing in it can run
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        parsed = None  # all that literal_eval may raise
    if not found or not isinstance(parsed, list | tuple) or not parsed:
        raise ConfigError(f"axis {text!r}: expected FIELD=(value, value, ...)")
    return key.removeprefix("config."), tuple(parsed)


def apply_point(config: Config, point: Point) -> Config:
    """The configuration with the point's fields replaced; a typo names the nearest key."""
    values = to_json_dict(config)
    for field, value in point.items():
        place, *rest = values, *field.split(".")
        for key in rest[:-1]:
            if not isinstance(place.get(key), dict):
                near = difflib.get_close_matches(key, place, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(place)}"
                raise ConfigError(f"axis {field}: config has no group {key!r}; {hint}")
            place = place[key]
        place[rest[-1]] = value
    return from_config_dict(Config, values)


def run_sweep(
    config: Config, points: Sequence[Point], workdir: Path, log: RunLog
) -> list[dict[str, Any]]:
    """Runs all points that `workdir/sweep.jsonl` lacks; returns the rows of all of `points`.

    A point is its whole configuration: with another `config` it is another point.
    """
    table = workdir / "sweep.jsonl"
    configs = check_points(config, points)
    done = {row["config"] for row in finished(collect(workdir))}
    groups: dict[str, list[tuple[Point, Config]]] = {}
    for point, one in configs:
        if identity(one) not in done:
            groups.setdefault(_shape_key(one), []).append((point, one))
    for number, members in enumerate(groups.values(), 1):
        log.say(f"sweep: program {number} of {len(groups)}, {len(members)} points")
        append_rows(table, run_group(members, workdir, log))
    wanted = {identity(one) for _, one in configs}
    return settled([row for row in read_rows(table) if row["config"] in wanted])


def check_points(config: Config, points: Sequence[Point]) -> list[tuple[Point, Config]]:
    """Every point's configuration; all are checked, before any is run. Raises ConfigError."""
    configs = [(point, apply_point(config, point)) for point in points]
    for _, one in configs:
        _settings(one)
    return configs


def pareto_front(rows: Sequence[Mapping[str, Any]], cost: str = "bytes") -> list[dict[str, Any]]:
    """Means over seeds of each point, entry and candidate, cheapest first, that none beats.

    Chosen by F1 on validation; `f1` is what they have on test. Points that were stopped early
    have no place here.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in finished(rows):
        candidate = [row.get(name) for name in ("arm", "alpha", "temperature", "clusters")]
        key = json.dumps([row["point"], row["entry"], *candidate], sort_keys=True)
        groups.setdefault(key, []).append(row)
    means = [
        {**group[0]}
        | {name: float(np.mean([r[name] for r in group])) for name in ("f1", "validation_f1")}
        for group in groups.values()
    ]
    front: list[dict[str, Any]] = []
    for row in sorted(means, key=lambda r: (r[cost], -r["validation_f1"])):
        if not front or row["validation_f1"] > front[-1]["validation_f1"]:
            front.append(row)
    return front


def front_table(front: Sequence[Mapping[str, Any]]) -> str:
    """The front as text, one line each."""
    lines = [f"{'params':>9} {'bytes':>10} {'val. F1':>8} {'test F1':>8}  entry, arm, point"]
    for row in front:
        fields = {key.split(".")[-1]: value for key, value in row["point"].items()}
        if row["arm"] in TEACHERS_OF:
            fields |= {"alpha": row["alpha"], "temperature": row["temperature"]}
        if row.get("clusters"):
            fields["clusters"] = row["clusters"]
        point = ", ".join(f"{name}={value}" for name, value in fields.items())
        lines.append(
            f"{row['params']:>9,} {row['bytes']:>10,} {row['validation_f1']:>8.4f} "
            f"{row['f1']:>8.4f}  {row['entry']}, {row['arm']}, {point}"
        )
    return "\n".join(lines)


def identity(config: Config) -> str:
    """A name for the whole configuration of a point: other settings, other rows."""
    values = json.dumps(to_json_dict(config), sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()[:16]


def _shape_key(config: Config) -> str:
    """Equal for points that one program can run."""
    values = to_json_dict(config)
    values["distill"]["alphas"] = None
    for entry in values["entries"].values():
        entry["student_train"]["learning_rate"] = None
    return json.dumps(values, sort_keys=True)


def _settings(config: Config) -> list[Candidate]:
    return [candidate for arm in config.arms for candidate in candidates(arm, config)]


def program_home(members: Sequence[tuple[Point, Config]], workdir: Path) -> Path:
    """Where the program of these points keeps its state, from which it goes on after a kill."""
    names = "".join(identity(one) for _, one in members)
    return workdir / "programs" / hashlib.sha256(names.encode()).hexdigest()[:16]


def run_group(
    members: Sequence[tuple[Point, Config]], workdir: Path, log: RunLog
) -> list[dict[str, Any]]:
    """Trains points of one shape as one program; their rows, with checkpoints in `workdir`."""
    config, home = members[0][1], program_home(members, workdir)
    sources = open_sources(config.trace, config.stream, workdir)
    rows: list[dict[str, Any]] = []
    for name, entry in config.entries.items():
        splits = encode_splits(sources, config.trace, entry.features)
        material = prepare(entry, splits, config, home / name, log)
        owners, chosen = [], []
        for point, one in members:
            rate = one.entries[name].student_train.learning_rate
            own = [c._replace(learning_rate=rate) for c in _settings(one)]
            owners += [(point, one)] * len(own)
            chosen += own
            if "marginal" in one.arms:
                judged = results.marginal_rows(name, material)
                rows += [{"point": point, "config": identity(one), **row} for row in judged]
        students = train_students(chosen, config.seeds, material, home / name, "sweep", log)
        tests = results.judge_on_test(students, material)
        seeds = len(config.seeds)
        for i, (point, one) in enumerate(owners):
            part = slice(i * seeds, (i + 1) * seeds)
            own_home, theirs = home / f"candidate_{i}", material._replace(entry=one.entries[name])
            judged = results.student_rows(
                name, students[part], tests[part], theirs, sources, own_home
            )
            for row in judged:
                row["checkpoint"] = str(own_home.relative_to(workdir) / row["checkpoint"])
            rows += [{"point": point, "config": identity(one), **row} for row in judged]
    return rows
