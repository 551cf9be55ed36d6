"""What a study found, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from latency_jax.fitting.candidates import Fit
from latency_jax.fitting.study import FitConfig, Trial, kind_models
from latency_jax.scores import Scores, overall
from latency_jax.selection import MODES, Selection
from packd_jax.summary import interval

GAINED = ("accuracy", "within_10", "r2")
MEDN = ("medn", "medn_ensemble", "medn_distilled")


def results(trials: Sequence[Trial], config: FitConfig) -> dict[str, Any]:
    """All that was found, for JSON. Scores are of test rows; shares are of 1, times are in µs.

    rows       of each (split seed, kind, regressor)
    selection  of each (split seed, set of regressors): overall scores, by `kinds` those of each
               with the coverage of its 90 % interval, and what the set costs
    gains      of each mode of selection over other sets, over split seeds
    front      what accuracy costs, of the first split seed
    """
    selections = [
        _selection(trial, name, selection)
        for trial in trials
        for name, selection in trial.sets.items()
    ]
    return {
        "config": asdict(config),
        "rows": [row for trial in trials for row in _rows(trial)],
        "selection": selections,
        "gains": _gains(selections),
        "front": [_selection(trials[0], "front", s) for s in trials[0].front],
    }


def _rows(trial: Trial) -> list[dict[str, Any]]:
    return [
        {
            "split_seed": trial.seed,
            "kind": fit.candidate.kind,
            "regressor": fit.candidate.name,
            **fit.test._asdict(),
            "validation": fit.candidate.scores._asdict(),
            "fit_seconds": fit.fit_seconds,
            "predict_us_per_row": 1e6 * fit.candidate.seconds_per_row,
            "predict_us_single": 1e6 * fit.candidate.seconds_single,
            "size_bytes": fit.candidate.size_bytes,
            "test_rows": trial.splits[fit.candidate.kind].test.rows,
        }
        for fit in trial.fits
    ]


def _selection(trial: Trial, name: str, selection: Selection) -> dict[str, Any]:
    tests = {(f.candidate.kind, f.candidate.name): f.test for f in trial.fits}
    scores = {kind: tests[kind, rm] for kind, rm in selection.names.items()}
    macro, weighted = overall(scores, {kind: s.test.rows for kind, s in trial.splits.items()})
    kinds = {}
    for kind, model in kind_models(trial, selection).items():
        test = trial.splits[kind].test
        low, high = model.interval.bounds(model.regressor.predict(test))
        kinds[kind] = {
            "regressor": model.regressor.name,
            **scores[kind]._asdict(),
            "coverage": float(((low <= test.latency) & (test.latency <= high)).mean()),
            "interval_factor": float(np.median(np.sqrt(high / low))) if low.all() else None,
            "in_domain": float(model.domain.contains(test).mean()),
        }
    return {
        "split_seed": trial.seed,
        "set": name,
        "macro": macro._asdict(),
        "weighted": weighted._asdict(),
        "validation": selection.value,
        "predict_us_per_row": 1e6 * selection.seconds_per_row,
        "predict_us_single": 1e6 * selection.seconds_single,
        "size_bytes": selection.size_bytes,
        "kinds": kinds,
    }


def _gains(selections: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Test scores of a mode less those of another set on the same split, means over split seeds.

    `points` is in percent of 1, `relative` in percent of the other's mean; `half_width` is that
    of the 95 % interval of `points`, None for one seed.
    """
    by_set: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in selections:
        by_set.setdefault(row["set"], {})[row["split_seed"]] = row
    gains = []
    for mode in MODES:
        for other in ("best_single", *(name for name in MEDN if name in by_set)):
            for average in ("macro", "weighted"):
                for score in GAINED:
                    seeds = by_set[mode].keys() & by_set[other].keys()
                    pairs = np.array(
                        [[by_set[s][seed][average][score] for s in (mode, other)] for seed in seeds]
                    )
                    points = 100 * (pairs[:, 0] - pairs[:, 1])
                    half_width = interval(points).half_width
                    gains.append(
                        {
                            "mode": mode,
                            "over": other,
                            "average": average,
                            "score": score,
                            "points": float(points.mean()),
                            "half_width": None if np.isnan(half_width) else half_width,
                            "relative": float(100 * points.mean() / (100 * pairs[:, 1].mean())),
                        }
                    )
    return gains


def show(seed: int, fits: Sequence[Fit]) -> None:
    """Prints a line for each, while others are being fitted."""
    for fit in fits:
        found = fit.candidate
        print(
            f"split {seed}  {found.kind:16s} {found.name:17s} MAPE {fit.test.mape:6.1%}  "
            f"±10 % {fit.test.within_10:6.1%}  R² {fit.test.r2:.3f}  fit {fit.fit_seconds:6.1f} s  "
            f"{1e6 * found.seconds_per_row:6.2f} µs/row  {found.size_bytes / 1e3:7.1f} kB",
            flush=True,
        )


def describe(found: Mapping[str, Any]) -> str:
    """The sets of regressors as a table of means over split seeds, and what selection gains."""
    head = ("set", "acc.", "±10 %", "MAPE", "R²", "µs/row", "µs/one", "kB", "coverage")
    lines = ["{:18s}{:>7}{:>7}{:>7}{:>8}{:>8}{:>8}{:>9}{:>10}".format(*head)]
    for name in dict.fromkeys(row["set"] for row in found["selection"]):
        rows = [row for row in found["selection"] if row["set"] == name]
        macro = Scores(*np.mean([[r["macro"][f] for f in Scores._fields] for r in rows], axis=0))
        cost = [
            np.mean([row[key] for row in rows])
            for key in ("predict_us_per_row", "predict_us_single", "size_bytes")
        ]
        coverage = np.mean([kind["coverage"] for row in rows for kind in row["kinds"].values()])
        lines.append(
            f"{name:18s}{macro.accuracy:7.1%}{macro.within_10:7.1%}{macro.mape:7.1%}"
            f"{macro.r2:8.3f}{cost[0]:8.2f}{cost[1]:8.0f}{cost[2] / 1e3:9.1f}{coverage:10.1%}"
        )
    for gain in found["gains"]:
        if gain["average"] == "macro" and gain["score"] != "within_10":
            width = "" if gain["half_width"] is None else f" ± {gain['half_width']:.2f}"
            lines.append(
                f"{gain['mode']} over {gain['over']}: {gain['score']} {gain['points']:+.2f}{width} "
                f"points, {gain['relative']:+.2f} % relative"
            )
    first = next(row for row in found["selection"] if row["set"] in MODES)
    chosen = (f"{kind}: {of['regressor']}" for kind, of in first["kinds"].items())
    return "\n".join([*lines, f"{first['set']} mode chose " + ", ".join(chosen)])
