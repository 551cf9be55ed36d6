"""The log of a run: metrics.jsonl, config.json, environment.json, and progress on stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from packd_jax import processes
from packd_jax.json_files import plain_json, write_json
from packd_jax.provenance import provenance

_TERMINAL_SECONDS = 0.2  # between two pictures of a bar
_PLAIN_SECONDS = 10.0  # between two lines where stderr is a file
_BAR_CELLS = 24


class RunLog:
    """Records one run in a directory; use it in a `with` statement, or `close` it.

    `metrics.jsonl` has one JSON object per line: `time_s` since the start of the run, `stage`,
    `step` and the values; a reopened log goes on after its last whole line and its last time.
    Of several processes the first one writes and talks alone. With `tensorboard`, finite scalars
    go to `workdir/tensorboard` as `stage/name` as well.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        config: Mapping[str, Any] | None = None,
        *,
        tensorboard: bool = False,
    ) -> None:
        self._board = None
        self.workdir = Path(workdir)
        self.workdir.mkdir(parents=True, exist_ok=True)
        if tensorboard and processes.is_first():
            self._board = _tensorboard_writer(self.workdir / "tensorboard")
        path = self.workdir / "metrics.jsonl"
        self._silence: TextIO | None = None
        if not processes.is_first():
            path = Path(os.devnull)
            self._silence = path.open("w")
        else:
            write_json(self.workdir / "environment.json", provenance())
            if config is not None:
                write_json(self.workdir / "config.json", config)
        self._start = time.monotonic() - _repair(path)
        self._metrics = path.open("a", encoding="utf-8")

    def write(self, stage: str, step: int, **values: Any) -> None:
        """Adds one line, which outlives this process once the call returns.

        Values are numbers, text, (NumPy or JAX) arrays, or nested lists and mappings of them;
        NaN and infinities become null. Raises TypeError, naming the value, for anything else.
        """
        line = {"time_s": round(time.monotonic() - self._start, 3), "stage": stage, "step": step}
        plain = plain_json({**line, **values}, where="metrics", finite=True)
        self._metrics.write(json.dumps(plain, allow_nan=False) + "\n")
        self._metrics.flush()
        if self._board is not None:
            for name in values:
                if isinstance(plain[name], (bool, int, float)):
                    self._board.add_scalar(f"{stage}/{name}", plain[name], plain["step"])

    def say(self, text: str) -> None:
        """Tells the user something once: on stderr, and as a `note` in the metrics."""
        print(text, file=self._silence or sys.stderr, flush=True)
        self.write("note", 0, text=text)

    @contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[Progress]:
        """Shows the progress of `total` steps, of which a resumed stage has `done` behind it.

        with log.stage("teachers", total=steps) as progress:
            ...
            progress(step, loss=loss)
        """
        progress = Progress(name, total, done, self._silence or sys.stderr)
        try:
            yield progress
        except BaseException:
            progress.close("stopped")
            raise
        progress.close("done")

    def close(self) -> None:
        self._metrics.close()
        if self._silence is not None:
            self._silence.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Progress:
    """Steps done, rate and time left: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, name: str, total: int, done: int, stream: TextIO) -> None:
        self._name, self._total, self._done, self._stream = name, total, done, stream
        self._values: dict[str, Any] = {}
        self._bar = stream.isatty()
        self._start = self._shown = time.monotonic()
        self._first: tuple[int, float] | None = None
        if not self._bar:
            self._print(f"{name}: started, {done:,} of {total:,} done")

    def __call__(self, done: int, **values: Any) -> None:
        """Says that `done` steps of all are done; `values` are shown beside them.

        Values may be JAX scalars: only those that are shown are waited for.
        """
        now = time.monotonic()
        self._done, self._values = done, values
        if self._first is None:  # what came before was compilation
            self._first = (done, now)
        if now - self._shown >= (_TERMINAL_SECONDS if self._bar else _PLAIN_SECONDS):
            self._shown = now
            self._print(self._line(now))

    def close(self, state: str) -> None:
        """Prints the one line that stays: `state`, steps, time, last values."""
        elapsed = time.monotonic() - self._start
        text = f"{self._name}: {state}, {self._done:,} of {self._total:,} in {_duration(elapsed)}"
        self._print(text + self._shown_values(), end="\n")

    def _line(self, now: float) -> str:
        share = self._done / self._total if self._total else 1.0
        text = f"{self._done:,}/{self._total:,} {share:4.0%}"
        assert self._first is not None
        steps, seconds = self._done - self._first[0], now - self._first[1]
        if steps > 0 and seconds > 0:
            rate = steps / seconds
            left = _duration(max(self._total - self._done, 0) / rate)
            text += f"  {rate:,.{0 if rate >= 10 else 2}f}/s  {left} left"
        bar = f" {self._cells(share)} " if self._bar else " "
        return f"{self._name}:{bar}{text}{self._shown_values()}"

    def _cells(self, share: float) -> str:
        is_unicode = (self._stream.encoding or "").lower().startswith("utf")
        full, empty = "━╌" if is_unicode else "#-"
        filled = min(int(share * _BAR_CELLS), _BAR_CELLS)
        return full * filled + empty * (_BAR_CELLS - filled)

    def _shown_values(self) -> str:
        return "".join(f"  {name} {_short(value)}" for name, value in self._values.items())

    def _print(self, text: str, end: str = "") -> None:
        if self._bar:
            width = shutil.get_terminal_size().columns - 1  # a wrapped line cannot be redrawn
            self._stream.write(f"\r\x1b[K{text if end else text[:width]}{end}")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()


def _short(value: Any) -> str:
    return value if isinstance(value, str) else f"{float(value):.4g}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _repair(path: Path) -> float:
    """Cuts a line that a kill tore off the end of `path`; returns the time_s of the last one."""
    if not path.exists():
        return 0.0
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    lines = whole.splitlines()
    try:
        return float(json.loads(lines[-1])["time_s"]) if lines else 0.0
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"{path}: line {len(lines)} is no line of a run log; expected a JSON object with "
            "time_s; name another working directory or move the file away"
        ) from None


def _tensorboard_writer(directory: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ImportError(
            "TensorBoard output needs tensorboardX: pip install packd-jax[tensorboard]"
        ) from None
    return SummaryWriter(str(directory))
