"""What each quirk of the authors' protocol is worth: the honest study, and one quirk at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packd_jax import summary
from packd_jax.config import Config, QuirksConfig
from packd_jax.json_files import write_json
from packd_jax.protocol import run_study
from packd_jax.run_log import RunLog

AUTHORS = QuirksConfig(
    select_on_test=True,
    packd_learning_rate_factor=2.0,
    clusters_in_turn=True,
    teachers_in_train_mode=True,
    clusters_unscaled=True,
    delta_clusters_from_pcs=True,
    half_kl=True,
    lstm_along_batch=True,
)


def variants(config: Config) -> Iterator[tuple[str, Config]]:
    """The study without quirks, with each one alone, and with all of them.

    Beside the switches of QuirksConfig: rows without a label dropped from every split, and
    alpha = 1, the clustered pipeline without any distillation. Quirks that cannot matter to
    the config's networks are left out.
    """
    honest = _without_empty_rows(dataclasses.replace(config, quirks=QuirksConfig()), False)
    yield "honest", honest
    families = {m.family for e in config.entries.values() for m in (e.student, e.teacher)}
    features = config.distill.cluster_features
    everything = QuirksConfig()
    for field in dataclasses.fields(QuirksConfig):
        if field.name == "lstm_along_batch" and families != {"lstm_flat"}:
            continue
        if field.name == "teachers_in_train_mode" and "resnet" not in families:
            continue
        if field.name == "delta_clusters_from_pcs" and "d" not in features:
            continue
        change: dict[str, Any] = {field.name: getattr(AUTHORS, field.name)}
        yield field.name, dataclasses.replace(honest, quirks=QuirksConfig(**change))
        everything = dataclasses.replace(everything, **change)
    yield "empty_rows_dropped", _without_empty_rows(honest, True)
    no_distillation = dataclasses.replace(config.distill, alphas=((1.0,),))
    yield "alpha_is_one", dataclasses.replace(honest, distill=no_distillation)
    whole = dataclasses.replace(honest, quirks=everything)
    yield "all_quirks", _without_empty_rows(whole, True)


def ablate_quirks(config: Config, workdir: Path, log: RunLog) -> list[dict[str, Any]]:
    """Runs all variants under `workdir/quirks` and leaves `workdir/quirks.json`.

    One row per (variant, entry, arm): mean F1 and its 95 % interval, and the gain over the
    same variant's plain student.
    """
    rows = []
    for name, variant in variants(config):
        log.say(f"quirks: {name}")
        home = workdir / "quirks" / name
        home.mkdir(parents=True, exist_ok=True)
        study = run_study(variant, home, log)
        means = summary.by_arm(study["rows"], "f1")
        for (entry, arm), (f1, half) in means.items():
            plain = means.get((entry, "no_kd"))
            gain = f1 - plain.mean if plain else float("nan")
            row = {"variant": name, "entry": entry, "arm": arm, "f1": f1, "half_width": half}
            rows.append({**row, "over_no_kd": gain})
    write_json(workdir / "quirks.json", rows)
    return rows


def quirks_table(rows: list[dict[str, Any]]) -> str:
    """The ablation as text: F1 of each arm, and in brackets its gain over the plain student."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    lines = [f"{'entry':<18} {'quirk':<27}" + "".join(f"{arm:>19}" for arm in arms)]
    for entry in dict.fromkeys(row["entry"] for row in rows):
        for variant in dict.fromkeys(row["variant"] for row in rows):
            own = {r["arm"]: r for r in rows if (r["entry"], r["variant"]) == (entry, variant)}
            cells = [f"{own[a]['f1']:>9.4f} ({own[a]['over_no_kd']:+.4f})" for a in arms]
            lines.append(f"{entry:<18} {variant:<27}" + "".join(f"{c:>19}" for c in cells))
    return "\n".join(lines)


def _without_empty_rows(config: Config, dropped: bool) -> Config:
    entries = {
        name: dataclasses.replace(
            entry, features=dataclasses.replace(entry.features, keep_empty_labels=not dropped)
        )
        for name, entry in config.entries.items()
    }
    return dataclasses.replace(config, entries=entries)
