"""The study: every arm with the same rows, order, steps and budget; test is looked at once.

Splits follow each other in time. Whatever is chosen (epoch, threshold, K, cluster feature,
alpha, temperature) is chosen on validation. `run_study` is the whole method on one screen.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from packd_jax import processes, results, summary
from packd_jax.config import Config, ConfigError, EntryConfig, from_config_dict, to_json_dict
from packd_jax.json_files import write_json
from packd_jax.provenance import provenance
from packd_jax.run_log import Progress, RunLog
from packd_jax.splits import Splits, encode_splits, open_sources
from packd_jax.students import Candidate, Material, candidates, train_students
from packd_jax.teachers import (
    ClusterKey,
    Clusters,
    TeacherKey,
    Teachers,
    fit_clusters,
    train_teachers,
)


def run_study(config: Config, workdir: Path, log: RunLog) -> dict[str, Any]:
    """Runs all entries of a study and leaves `workdir/results.json`, whose content it returns.

    Several processes run it together: all are given the same, the first one writes. An
    interrupted study goes on from its workdir and ends with the same numbers. Raises
    ConfigError when the workdir holds another study, TraceError for a bad trace.
    """
    _claim(config, workdir)
    with log.stage("trace", total=100) as progress:
        sources = open_sources(config.trace, config.stream, workdir, _percent(progress))
        progress(100, rows=sum(s.rows for s in sources))
    rows: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    for name, entry in config.entries.items():
        with log.stage(f"examples {name}", total=100) as progress:
            splits = encode_splits(
                sources, config.trace, entry.features, progress=_percent(progress)
            )
            progress(100, rows=splits.train.examples.rows)
        home = workdir / "entries" / name
        material = prepare(entry, splits, config, home, log)
        chosen = choose(material, home, log)
        students = train_students(chosen, config.seeds, material, home, "final", log)
        judged = results.marginal_rows(name, material) if "marginal" in config.arms else []
        tests = results.judge_on_test(students, material)
        judged += results.student_rows(name, students, tests, material, sources, workdir)
        _warn(material, judged, log)
        for row in judged:
            log.write("result", row["steps"], **{k: v for k, v in row.items() if k != "steps"})
        rows += judged
        details[name] = results.details(material, students, tests)
    study = {
        "trace": results.describe_traces(sources, details),
        "environment": provenance(),
        "config": to_json_dict(config),
        "rows": rows,
        "selected": max(range(len(rows)), key=lambda i: rows[i]["validation_f1"]),
        "differences": summary.paired_differences(rows),
        "details": details,
    }
    if processes.is_first():
        write_json(workdir / "results.json", study)
    return study


def prepare(
    entry: EntryConfig, splits: Splits, config: Config, workdir: Path, log: RunLog
) -> Material:
    """Clusters the windows and trains every teacher set that an arm may learn from."""
    wanted = [c for arm in config.arms for c in candidates(arm, config)]
    clusters: dict[ClusterKey, Clusters] = {}
    for asked in dict.fromkeys(c.clusters for c in wanted if c.clusters):
        clusters[asked] = fit_clusters(splits, asked, config, entry.features.look_back)
        fitted = clusters[asked].fitted
        log.say(
            f"clusters {asked}: training windows {fitted.counts.tolist()}"
            + (f"; {fitted.merged} too small, merged" if fitted.merged else "")
        )
    sets: dict[TeacherKey, None] = {}
    for seed in range(min(config.teacher_seeds, len(config.seeds))):
        keys = [c.teacher_key(seed) for c in wanted]
        sets |= dict.fromkeys(key for key in keys if key is not None)
    teachers: dict[TeacherKey, Teachers] = {}
    for teacher in sets:
        own = clusters[teacher.clusters] if teacher.clusters else None
        teachers[teacher] = train_teachers(teacher, splits, own, entry, config, workdir, log)
    return Material(entry, config, splits, clusters, teachers)


def choose(material: Material, workdir: Path, log: RunLog) -> list[Candidate]:
    """One candidate per arm: the best mean F1 on validation over the tuning seeds."""
    config = material.config
    options = {arm: candidates(arm, config) for arm in config.arms if arm != "marginal"}
    open_choices = [c for some in options.values() if len(some) > 1 for c in some]
    if not open_choices:
        return [some[0] for some in options.values()]
    seeds = config.seeds[: config.tune_seeds]
    tuned = train_students(open_choices, seeds, material, workdir, "tune", log)
    score: dict[Candidate, list[float]] = {}
    for student in tuned:
        score.setdefault(student.candidate, []).append(float(student.stack.f1[student.run]))
    chosen = [
        max(some, key=lambda c: np.mean(score[c])) if len(some) > 1 else some[0]
        for some in options.values()
    ]
    for candidate in chosen:
        if candidate in score:
            log.say(f"validation chose {candidate} out of {len(options[candidate.arm])}")
    return chosen


def _percent(progress: Progress) -> Callable[[float], None]:
    return lambda share: progress(int(100 * share))


def _claim(config: Config, workdir: Path) -> None:
    """Makes the workdir this study's; what an earlier start of the same study left is used."""
    path, mine = workdir / "config.json", to_json_dict(config)
    if not path.exists():
        if processes.is_first():
            write_json(path, mine)
        return
    found = from_config_dict(Config, json.loads(path.read_text()), str(path))
    if dataclasses.replace(found, stream=config.stream) != config:  # it changes no result
        raise ConfigError(
            f"{workdir} holds another study: {', '.join(_differing(to_json_dict(found), mine))}"
            " differ; name another workdir, or remove this one"
        )


def _differing(a: Any, b: Any, where: str = "config") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = dict.fromkeys([*a, *b])
        return [d for k in keys for d in _differing(a.get(k), b.get(k), f"{where}.{k}")]
    return [] if a == b else [where]


def _warn(material: Material, rows: list[dict[str, Any]], log: RunLog) -> None:
    """Says so when a teacher is no better on validation than the plain student."""
    plain = [row["validation_f1"] for row in rows if row["arm"] == "no_kd"]
    if not plain:
        return
    for key, teachers in material.teachers.items():
        if teachers.f1 <= np.mean(plain):
            log.say(
                f"warning: teacher {key} has validation F1 {teachers.f1:.4f}, no better than the"
                f" plain student's {np.mean(plain):.4f}: expect no gain from it; train it longer"
                " (teacher_train.steps) or on more rows"
            )
