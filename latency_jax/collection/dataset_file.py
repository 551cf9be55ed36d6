"""The file of a dataset: one line a measurement, never half of one, and no damage unnoticed.

`DIR/measurements.jsonl` starts with a line of the environment and the configuration; each line
after it is one measurement with all its repetitions. The checksum that ends a line goes on from
that of the line before, so lines that were changed, left out, added or moved are found.
"""

from __future__ import annotations

import io
import json
import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from latency_jax.parameters import ModuleConfig

try:
    import fcntl
except ImportError:  # not on Windows, where two collections at once are not noticed
    fcntl = None  # type: ignore[assignment]

FILE = "measurements.jsonl"
FORMAT = {"format": "latency_jax measurements", "version": 1}
# These say when and for how long, not what is measured or how.
_FREE = ("minutes", "configurations", "repeat_after_minutes")
_SYNC_SECONDS = 1.0


class DatasetError(ValueError):
    """A dataset that cannot be read or added to: which file, which line, why, what to do."""


class Lines(NamedTuple):
    """What a file holds."""

    header: dict[str, Any]  # "environment" and "config"
    rows: list[dict[str, Any]]
    checksum: int  # of the last whole line
    end: int  # of that line, in bytes; what follows is what a kill has torn off


def read_lines(path: Path) -> Lines:
    """Reads and checks all whole lines. Raises DatasetError that names file and line."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(
            f"{path}: no such file; expected a directory of experiments.collect_latency"
        ) from None
    end = data.rfind(b"\n") + 1
    lines = io.BytesIO(data[:end]).readlines()  # bytes.splitlines would split at \r too
    if not lines or not _could_start(lines[0]):
        raise _foreign(path)
    values, checksum = [], 0
    for number, line in enumerate(lines, start=1):
        body, _, claimed = line.rpartition(b',"crc32":')
        checksum = zlib.crc32(body, checksum)
        if claimed != b"%d}\n" % checksum:
            raise DatasetError(
                f"{path}: line {number}: its checksum differs: the line was changed, or one before "
                "it was left out, added or moved; restore the file, or keep the lines before it"
            )
        values.append(_parsed(path, number, body + b"}"))
    header, *rows = values
    if {name: header[name] for name in FORMAT} != FORMAT:
        raise DatasetError(
            f"{path}: line 1: version {header['version']!r} of {header['format']!r}; this program "
            f"reads version {FORMAT['version']}: collect again"
        )
    return Lines(header, rows, checksum, end)


def _parsed(path: Path, number: int, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
        if number == 1:
            value["environment"]["id"], value["config"], [value[name] for name in FORMAT]
        else:
            ModuleConfig.from_json(value["config"])
            float(value["spent_s"]), int(value["number"]), int(value["repeat"])
            if "error" not in value:
                np.array([value["start_s"], value["sentinel_s"]], np.float64)
                float(value["latency_s"]), [float(share) for share in value["load"]]
        return value
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DatasetError(
            f"{path}: line {number}: is none of this program's: {error!r}; name a directory of "
            "experiments.collect_latency"
        ) from None


def take_file(file: IO[bytes], path: Path) -> int:
    """Locks an open file; where its whole lines end, after which comes what a kill tore off.

    Raises DatasetError where another process has it, and where it is no dataset.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(
                f"{path}: another process is collecting into it; wait for it, end it, or "
                "choose another directory"
            ) from None
    data = path.read_bytes()
    if data and not _could_start(data):
        raise _foreign(path)
    return data.rfind(b"\n") + 1


class DatasetWriter:
    """Adds measurements to a directory; `rows` are those that it held already.

    A row outlives this process once `append` returns, and a power failure a second later. The
    directory is locked as long as the writer is open. Raises DatasetError where the dataset was
    made in another environment or with another configuration (how many and how long may
    change), is damaged, or is being written by somebody else.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        environment: Mapping[str, Any],
        config: Mapping[str, Any],
    ) -> None:
        self.path = Path(directory) / FILE
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        self._file = self.path.open("ab", buffering=0)
        try:
            end = take_file(self._file, self.path)
            self._checksum = 0
            if end:
                header, self.rows, self._checksum, _ = read_lines(self.path)
                self._check(header, environment, config)
            self._file.truncate(end)
            if not end:
                self._write({**FORMAT, "environment": environment, "config": config})
            self._sync()
        except BaseException:
            self._file.close()
            raise

    def append(self, row: Mapping[str, Any]) -> None:
        self._write(row)
        if time.monotonic() - self._synced >= _SYNC_SECONDS:
            self._sync()

    def close(self) -> None:
        if not self._file.closed:
            self._sync()
            self._file.close()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(
        self, header: dict[str, Any], environment: Mapping[str, Any], config: Mapping[str, Any]
    ) -> None:
        found, now = header["environment"], environment
        if found["id"] != now["id"]:
            raise DatasetError(
                f"{self.path}: was measured in environment {found['id']}, and this is "
                f"{now['id']}: {_differences(found, now)}; choose another directory"
            )
        old, new = header["config"], json.loads(_dumps(config))
        if {**old, **dict.fromkeys(_FREE)} != {**new, **dict.fromkeys(_FREE)}:
            raise DatasetError(
                f"{self.path}: was collected with another configuration: "
                f"{_differences(old, new, _FREE)}; use that one, or choose another directory"
            )

    def _write(self, row: Mapping[str, Any]) -> None:
        body = _dumps(row)[:-1].encode()
        self._checksum = zlib.crc32(body, self._checksum)
        line = memoryview(b'%b,"crc32":%d}\n' % (body, self._checksum))
        while line:  # a signal or a full disk may leave a part
            line = line[self._file.write(line) :]

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def _could_start(text: bytes) -> bool:
    """Whether a file that starts so, or a part of it that a kill left, is one of ours."""
    start = _dumps({"format": FORMAT["format"]})[:-1].encode()
    return text.startswith(start) or start.startswith(text)


def _foreign(path: Path) -> DatasetError:
    return DatasetError(
        f"{path}: line 1: starts no dataset; expected one of experiments.collect_latency"
    )


def _dumps(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], ignored: tuple[str, ...] = ()
) -> str:
    """`name was a and is b` for what differs, whether it matters or not."""
    ignored = (*ignored, "id", "load_average", "affinity", "git_commit", "platform")
    names = [n for n in {**old, **new} if n not in ignored and old.get(n) != new.get(n)]
    return ", ".join(f"{n} was {old.get(n)!r} and is {new.get(n)!r}" for n in names) or "unknown"
