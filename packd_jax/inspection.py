"""What a checkpoint holds, and how two differ, for people and as JSON; needs no model code."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from packd_jax.checkpoints import describe_checkpoint, restore_checkpoint
from packd_jax.named_leaves import host_arrays

_SHOWN_KEYS = ("kind", "config", "metrics", "clusters", "provenance")


def inspect_checkpoint(directory: str | os.PathLike) -> dict[str, Any]:
    """Everything a checkpoint says, JSON-ready: meta, statistics of each leaf, totals.

    Raises CheckpointError if the checkpoint is missing or damaged.
    """
    arrays, description = _read(directory)
    meta = description.meta
    leaves = [
        {
            "path": leaf.path,
            "shape": list(leaf.shape),
            "dtype": leaf.dtype,
            "size": leaf.size,
            "size_bytes": leaf.size_bytes,
            **_statistics(arrays[leaf.path]),
        }
        for leaf in description.leaves
    ]
    return {
        "directory": os.fspath(directory),
        **{key: meta.get(key) for key in _SHOWN_KEYS},
        "other": {key: value for key, value in meta.items() if key not in _SHOWN_KEYS},
        "leaves": leaves,
        "size": sum(leaf.size for leaf in description.leaves),
        "size_bytes": sum(leaf.size_bytes for leaf in description.leaves),
    }


def compare_checkpoints(first: str | os.PathLike, second: str | os.PathLike) -> dict[str, Any]:
    """How `second` differs from `first`, JSON-ready.

    Keys of config and metrics are dotted, with the values of both (None: absent). Leaves of
    equal shape have their largest absolute difference and the relative L2 difference
    |second - first| / |first| (None where only `first` is zero), whatever their dtypes.
    Raises CheckpointError if one of the checkpoints is missing or damaged.
    """
    (arrays, description), (other_arrays, other) = _read(first), _read(second)
    leaves = {leaf.path: leaf for leaf in description.leaves}
    other_leaves = {leaf.path: leaf for leaf in other.leaves}
    shared = [path for path in leaves if path in other_leaves]
    equal_shaped = [path for path in shared if leaves[path].shape == other_leaves[path].shape]
    return {
        "directories": [os.fspath(first), os.fspath(second)],
        "config": _differences(description.meta, other.meta, "config"),
        "metrics": _differences(description.meta, other.meta, "metrics"),
        "only_in_first": [path for path in leaves if path not in other_leaves],
        "only_in_second": [path for path in other_leaves if path not in leaves],
        "type_differences": {
            path: [leaves[path].array_type, other_leaves[path].array_type]
            for path in shared
            if leaves[path] != other_leaves[path]
        },
        "leaf_differences": {
            path: _distance(arrays[path], other_arrays[path]) for path in equal_shaped
        },
    }


def format_inspection(report: Mapping[str, Any]) -> str:
    """The report of `inspect_checkpoint` as text for a terminal."""
    header = ("leaf", "shape", "dtype", "values", "bytes", "min", "mean", "max", "std")
    rows = [
        (
            leaf["path"],
            "x".join(map(str, leaf["shape"])) or "scalar",
            leaf["dtype"],
            f"{leaf['size']:,}",
            f"{leaf['size_bytes']:,}",
            *(_text(leaf[name]) for name in ("min", "mean", "max", "std")),
        )
        for leaf in report["leaves"]
    ]
    total = ("total", "", "", f"{report['size']:,}", f"{report['size_bytes']:,}", "", "", "", "")
    parts = [f"{report['directory']}: {report['kind'] or 'checkpoint of unnamed kind'}"]
    for title in ("config", "metrics", "clusters", "provenance", "other"):
        parts += _section(title, _key_values(report[title] or {}))
    parts += _section("leaves", _table([header, *rows, total]))
    return "\n".join(parts)


def format_comparison(report: Mapping[str, Any]) -> str:
    """The report of `compare_checkpoints` as text for a terminal."""
    first, second = report["directories"]
    parts = [f"first:  {first}", f"second: {second}"]
    for title in ("config", "metrics"):
        header = ("key", "first", "second", "second - first")
        rows = [(key, *map(_text, pair), _change(*pair)) for key, pair in report[title].items()]
        parts += _section(title, _table([header, *rows]) if rows else ["equal"])
    types = [(path, *pair) for path, pair in report["type_differences"].items()]
    parts += _section("shapes and dtypes that differ", _table(types))
    parts += _section("leaves only in first", report["only_in_first"])
    parts += _section("leaves only in second", report["only_in_second"])
    distances = [("leaf", "max |difference|", "relative L2")]
    for path, values in report["leaf_differences"].items():
        distances.append((path, _text(values["max_abs"]), _text(values["relative_l2"])))
    parts += _section("leaf differences", _table(distances))
    return "\n".join(parts)


def _read(directory: str | os.PathLike) -> tuple[dict[str, np.ndarray], Any]:
    tree, _ = restore_checkpoint(directory)
    return host_arrays(tree), describe_checkpoint(directory)


@np.errstate(all="ignore")  # infinite values are shown, not warned about
def _statistics(array: np.ndarray) -> dict[str, float | None]:
    names = ("min", "mean", "max", "std")
    if not array.size:
        return dict.fromkeys(names)
    values = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    values = np.abs(values) if array.dtype.kind == "c" else values
    return {name: float(getattr(values, name)()) for name in names}


@np.errstate(all="ignore")  # infinite values are shown, not warned about
def _distance(first: np.ndarray, second: np.ndarray) -> dict[str, float | None]:
    wide = np.complex128 if "c" in (first.dtype.kind, second.dtype.kind) else np.float64
    norm = float(np.linalg.norm(first.astype(wide).ravel()))
    difference = np.abs(second.astype(wide) - first.astype(wide)).ravel()
    distance = float(np.linalg.norm(difference))
    relative = distance / norm if norm else None
    return {
        "max_abs": float(difference.max(initial=0.0)),
        "relative_l2": 0.0 if distance == 0 else relative,
    }


def _differences(first: Mapping, second: Mapping, key: str) -> dict[str, list[Any]]:
    one, two = dict(_dotted(first.get(key) or {})), dict(_dotted(second.get(key) or {}))
    keys = [*one, *(key for key in two if key not in one)]
    return {key: [one.get(key), two.get(key)] for key in keys if one.get(key) != two.get(key)}


def _dotted(value: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and (value or not prefix):
        for key, item in value.items():
            yield from _dotted(item, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def _key_values(value: Any) -> list[str]:
    return _table([(key, _text(item)) for key, item in _dotted(value)])


def _change(first: Any, second: Any) -> str:
    both_texts = all(isinstance(v, (int, float)) for v in (first, second))
    return f"{second - first:+.6g}" if both_texts else ""


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return "-" if value is None else str(value)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"{title}:", *(f"  {line}" for line in lines)] if lines else []


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
