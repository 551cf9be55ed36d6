"""Tables out of anybody's CSV files."""

from __future__ import annotations

import csv
import difflib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latency_jax.columns import GENERIC
from latency_jax.modules import get_kind
from latency_jax.parameters import CONDITIONS, Parameter, Value
from latency_jax.table import Table, make_table

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.I)


class CsvTableError(ValueError):
    """A CSV file that gives no table: which file, where in it, what stands there, expected."""

    def __init__(self, path: str | os.PathLike, where: str, given: str, expected: str) -> None:
        super().__init__(f"{os.fspath(path)}: {where}: {given}; expected {expected}")
        self.path = os.fspath(path)


def read_csv_table(
    path: str | os.PathLike,
    kind: str,
    columns: Mapping[str, str],
    target: str | Sequence[str],
    unit: str,
    where: Mapping[str, str] | None = None,
    values: Mapping[str, Mapping[str, Value]] | None = None,
) -> Table:
    """A table of one module kind from a CSV file with a header line.

    columns: parameter or condition of the kind -> column of the file; for the kind "generic",
        any names. A column holds numbers throughout, or True and False, or texts (categories).
        Where the kind has a text, numbers are taken as codes of categories.
    target: the column of latencies, in `unit` "s", "ms" or "us"; those of several are added.
    where: column of the file -> text; rows that differ there are left out.
    values: parameter -> {text in the file: value}, like {"padding": {"1": "SAME"}}; a text that
        is not listed there is then an error.

    Raises CsvTableError that names file, line and column, and ParameterError for an unknown kind.
    """
    targets = (target,) if isinstance(target, str) else tuple(target)
    if unit not in SECONDS:
        raise ValueError(f"unit = {unit!r}: expected one of {', '.join(SECONDS)}")
    inputs = _inputs(path, kind, columns, values or {})
    filters = dict(where or {})
    latency = []
    rows = 0
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = _Lines(path, file, [i.column for i in inputs] + [*targets, *filters])
        for row in lines:
            rows += 1
            if all(row[column] == text for column, text in filters.items()):
                for each in inputs:
                    each.append(lines.line, row[each.column])
                seconds = [_latency(path, lines.line, name, row[name]) for name in targets]
                latency.append(sum(seconds) * SECONDS[unit])
    if not latency:
        wanted = " and ".join(f"{column} = {text!r}" for column, text in filters.items())
        raise CsvTableError(path, f"{rows} rows", "none is left", f"rows with {wanted or 'data'}")
    return make_table(kind, {i.name: np.array(i.column_values) for i in inputs}, np.array(latency))


def column_texts(path: str | os.PathLike, column: str) -> list[str]:
    """The different texts of a column, in the order of their first rows. Raises CsvTableError."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(dict.fromkeys(row[column] for row in _Lines(path, file, [column])))


class _Lines:
    """The rows of a CSV file as dicts of the wanted columns, with the line that each ends on."""

    def __init__(self, path: str | os.PathLike, file: Any, wanted: Sequence[str]) -> None:
        self.path = path
        self.reader = csv.reader(file, strict=True)
        header = [name.strip() for name in self._next() or []]
        if not header:
            raise CsvTableError(path, "line 1", "no header", "the names of the columns")
        self.width = len(header)
        self.positions = {}
        for name in wanted:
            if header.count(name) != 1:
                near = difflib.get_close_matches(name, header, n=1)
                hint = f"; did you mean {near[0]!r}?" if near and near[0] != name else ""
                given = f"{header.count(name)} columns {name!r}"
                raise CsvTableError(path, "line 1", given, f"one among {', '.join(header)}{hint}")
            self.positions[name] = header.index(name)

    @property
    def line(self) -> int:
        return self.reader.line_num

    def __iter__(self) -> Iterator[dict[str, str]]:
        while (row := self._next()) is not None:
            if not row:  # csv gives [] for an empty line
                continue
            if len(row) != self.width:
                raise CsvTableError(
                    self.path, f"line {self.line}", f"{len(row)} fields", f"{self.width}"
                )
            yield {name: row[position].strip() for name, position in self.positions.items()}

    def _next(self) -> list[str] | None:
        try:
            return next(self.reader, None)
        except csv.Error as error:
            raise CsvTableError(self.path, f"line {self.line}", str(error), "CSV") from error
        except UnicodeDecodeError as error:  # found when a block is read, so lines ahead of it
            raise CsvTableError(
                self.path, f"after line {self.line}", str(error), "text in UTF-8"
            ) from error


@dataclass
class _Input:
    """One column as it is read."""

    path: str | os.PathLike
    name: str
    column: str
    parameter: Parameter | None  # what the kind says of it; None for generic
    mapping: Mapping[str, Value] | None
    column_values: list[Any]

    def append(self, line: int, text: str) -> None:
        place = f"line {line}, column {self.column!r}"
        value = self._value(place, text)
        form, seen = _form(value), _form(self.column_values[0]) if self.column_values else None
        if seen is not None and form != seen:
            raise CsvTableError(self.path, place, repr(text), f"{seen}, as in the rows before")
        self.column_values.append(value)

    def _value(self, place: str, text: str) -> Value:
        if self.mapping is not None:
            if text not in self.mapping:
                raise CsvTableError(
                    self.path, place, repr(text), f"one of {', '.join(map(repr, self.mapping))}"
                )
            value = self.mapping[text]
        else:
            value = _parsed(self.path, place, text)
        if self.parameter is not None and isinstance(value, str):
            choices = tuple(dict.fromkeys(self.parameter.choices))
            if not isinstance(self.parameter.default, str):
                raise CsvTableError(self.path, place, repr(text), f"a number for {self.name}")
            if choices and value not in choices:
                raise CsvTableError(
                    self.path,
                    place,
                    repr(text),
                    f"{self.name} as one of {choices}; if it is one of them by another name, say "
                    f"so in `values`",
                )
        return value


def _inputs(
    path: str | os.PathLike,
    kind: str,
    columns: Mapping[str, str],
    values: Mapping[str, Mapping[str, Value]],
) -> list[_Input]:
    parameters: dict[str, Parameter | None] = {}
    if kind == GENERIC:
        parameters = dict.fromkeys(columns)
    else:
        parameters = {p.name: p for p in (*get_kind(kind).parameters, *CONDITIONS)}
    for what, names in (("columns", columns), ("values", values)):
        known = parameters if what == "columns" else columns
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                expected = f"one of {', '.join(known)} for kind {kind!r}{hint}"
                raise CsvTableError(path, what, f"unknown name {name!r}", expected)
    return [
        _Input(path, name, column, parameters[name], values.get(name), [])
        for name, column in columns.items()
    ]


def _parsed(path: str | os.PathLike, place: str, text: str) -> Value:
    """A boolean or number where the text is one, else the text."""
    if not text:
        raise CsvTableError(path, place, "nothing", "a number or a category")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    if not math.isfinite(number):
        raise CsvTableError(path, place, text, "a finite number")
    is_whole = text.lstrip("+-").isdecimal() and abs(number) < 2**53
    return int(text) if is_whole else number


def _latency(path: str | os.PathLike, line: int, column: str, text: str) -> float:
    value = _parsed(path, f"line {line}, column {column!r}", text)
    if isinstance(value, (bool, str)) or value <= 0:
        raise CsvTableError(
            path, f"line {line}, column {column!r}", repr(text), "a latency above 0"
        )
    return float(value)


def _form(value: Value) -> str:
    if isinstance(value, bool):
        return "True or False"
    return "text" if isinstance(value, str) else "a number"
