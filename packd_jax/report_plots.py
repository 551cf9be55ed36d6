"""The report's figures as inline SVG, one small figure per panel so that a phone can show them.

Text stays text, so it can be searched and read aloud; equal data gives equal bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from packd_jax import summary

if TYPE_CHECKING:  # drawing alone needs matplotlib, which takes most of a second to import
    from matplotlib.axes import Axes


class ArmStyle(NamedTuple):
    colour: str
    dashes: str


# Okabe and Ito's colours, less the yellow that white paper swallows; dashes for grey print.
ARM_STYLES: Mapping[str, ArmStyle] = {
    "marginal": ArmStyle("#767676", ":"),
    "no_kd": ArmStyle("#000000", "-"),
    "kd": ArmStyle("#0072b2", "-"),
    "packd": ArmStyle("#d55e00", "-"),
    "packd_random": ArmStyle("#e69f00", "--"),
    "kd_budget": ArmStyle("#56b4e9", "--"),
    "cluster_input": ArmStyle("#009e73", "-"),
    "cluster_input_kd": ArmStyle("#cc79a7", "--"),
}
_ENTRY_MARKERS = "osD^vPX*"
_WIDTH_IN = 5.0  # of every figure: 9 pt text is then still legible on a phone
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of entries are the user's and may hold a dollar
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.markersize": 3.5,
}


def svg(alt: str, draw: Callable[..., None], *data: Any, height_in: float = 2.5) -> str:
    """The SVG element of what `draw(axes, *data)` draws, with `alt` as its alternative text.

    A legend comes below and adds to the height. Figures of one page need different `alt` texts:
    their element ids are made from it.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        # The reader's fonts draw the text; matplotlib only measures it.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the report
        matplotlib.rcParams.update({**_STYLE, "svg.hashsalt": alt})
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        axes = figure.add_subplot()
        draw(axes, *data)
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            columns = max(1, min(3, 60 // max(map(len, labels))))
            figure.legend(handles, labels, loc="outside lower center", ncols=columns)
            figure.set_figheight(height_in + 0.19 * -(-len(labels) // columns) + 0.1)
        text = io.StringIO()
        unmarked = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=unmarked)
    element = text.getvalue()
    element = element[element.index("<svg") :].strip()
    # Inside a page a <style> would reach all of it, and group ids would repeat in every figure.
    element = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", element, flags=re.DOTALL)
    element = re.sub(r'<g id="[^"]*"', "<g", element)
    return element.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)


def excludes_zero(difference: Mapping[str, Any]) -> bool:
    """Whether the interval of a paired difference lies on one side of zero; one seed has none."""
    return abs(_nan(difference["difference"])) > _nan(difference["half_width"])


def forest(axes: Axes, differences: Sequence[Mapping[str, Any]], reach: float) -> None:
    """Paired differences with their intervals on -reach..reach; filled: zero is excluded."""
    for row, d in enumerate(differences):
        colour = ARM_STYLES[d["first"]].colour
        axes.errorbar(
            _nan(d["difference"]),
            row,
            xerr=_nan(d["half_width"]),
            fmt="o",
            color=colour,
            markerfacecolor=colour if excludes_zero(d) else "white",
            markersize=6,
            capsize=3,
        )
    axes.axvline(0, color="#333333", linewidth=1)
    axes.set_yticks(range(len(differences)), [f"{d['first']} − {d['second']}" for d in differences])
    axes.set_ylim(len(differences) - 0.4, -0.6)
    if reach > 0:
        axes.set_xlim(-reach, reach)
    axes.grid(False, axis="y")
    axes.set_xlabel("difference of test F1, pairs of equal seed")


def f1_against_size(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Means (large) and seeds (small) of test F1 over bytes, and the best mean at most so large.

    An entry's arms of about one size stand side by side: the marks would hide each other.
    """
    from matplotlib.ticker import EngFormatter, LogLocator

    means = summary.by_arm(rows, "f1")
    sizes = {(r["entry"], r["arm"]): r["bytes"] for r in rows}
    entries, arms = _distinct(rows, "entry"), _distinct(rows, "arm")
    decades = np.log10(max(sizes.values()) / min(sizes.values()))
    step = 0.018 * max(decades, 0.5)
    axes.set_xscale("log")
    for (entry, arm), (mean, _) in means.items():
        size = sizes[entry, arm]
        near = [a for e, a in sizes if e == entry and abs(np.log10(sizes[e, a] / size)) < step]
        x = size * 10 ** (step * (near.index(arm) - (len(near) - 1) / 2))
        marker, colour = _marker(entries, entry), ARM_STYLES[arm].colour
        seeds = [_nan(r["f1"]) for r in rows if (r["entry"], r["arm"]) == (entry, arm)]
        axes.plot([x] * len(seeds), seeds, marker, color=colour, ms=3, alpha=0.6)
        axes.plot([x], [mean], marker, color=colour, ms=6.5, mec="white")
    ordered = sorted((sizes[key], mean) for key, (mean, _) in means.items() if mean == mean)
    if ordered:
        x, f1 = zip(*ordered)
        best = np.maximum.accumulate(f1)
        axes.step(x, best, where="post", color="#333333", linewidth=0.8, zorder=1)
    # A quarter of a decade on each side always holds a tick at 1, 2 or 5.
    margin = 10 ** max(0.08 * decades, 0.25)
    axes.set_xlim(min(sizes.values()) / margin, max(sizes.values()) * margin)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,)))
    axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.minorticks_off()
    axes.set_xlabel("size of the parameters")
    axes.set_ylabel("test F1")
    for arm in arms:
        axes.plot([], [], "o", color=ARM_STYLES[arm].colour, markersize=6, label=arm)
    for entry in entries if len(entries) > 1 else ():
        axes.plot([], [], _marker(entries, entry), color="white", mec="#333333", ms=6, label=entry)
    axes.plot([], [], color="#333333", linewidth=0.8, label="best mean so far")


def f1_by_cluster(axes: Axes, clustering: Mapping[str, Any]) -> None:
    """Test F1 of every arm in every cluster, with the clusters' training and test rows."""
    scores, sizes = clustering["test_f1"], clustering["sizes"]
    thickness = 0.84 / max(len(scores), 1)
    for i, (arm, f1) in enumerate(scores.items()):
        rows = np.arange(len(f1)) - 0.42 + (i + 0.5) * thickness
        values = [_nan(value) for value in f1]
        axes.barh(rows, values, 0.9 * thickness, color=ARM_STYLES[arm].colour, label=arm)
    labels = [
        f"cluster {c}\n{train:,} train\n{test:,} test"
        for c, (train, test) in enumerate(zip(sizes, clustering["test_rows"]))
    ]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlabel("test F1")


def training_curves(
    axes: Axes, curves: Sequence[Mapping[str, Any]], quantity: str, ylabel: str
) -> None:
    """One quantity against steps: thin lines are seeds, thick ones their mean by arm."""
    for arm in _distinct(curves, "arm"):
        style = ARM_STYLES[arm]
        by_step: dict[int, list[float]] = {}
        for curve in (c for c in curves if c["arm"] == arm):
            values = [_nan(value) for value in curve[quantity]]
            axes.plot(curve["step"], values, color=style.colour, linewidth=0.5, alpha=0.55)
            for step, value in zip(curve["step"], values):
                by_step.setdefault(step, []).append(value)
        means = [np.mean(by_step[step]) for step in sorted(by_step)]
        axes.plot(sorted(by_step), means, style.dashes, marker="o", color=style.colour, label=arm)
    axes.set_xlabel("training steps")
    axes.set_ylabel(ylabel)


def threshold_curve(axes: Axes, curve: Mapping[str, Any], chosen: float | None) -> None:
    """Test F1 at every threshold, and the threshold that was chosen without looking here."""
    f1 = [_nan(value) for value in curve["test_f1"]]
    axes.plot(curve["threshold"], f1, color=ARM_STYLES[curve["arm"]].colour)
    if chosen is not None:
        axes.axvline(chosen, color="#333333", linewidth=1, linestyle="--")
        axes.annotate(
            f"chosen: {chosen:.3f}",
            (chosen, 1),
            xytext=(4 if chosen < 0.6 else -4, 2),
            textcoords="offset points",
            xycoords=("data", "axes fraction"),
            horizontalalignment="left" if chosen < 0.6 else "right",
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("threshold on the predicted probability")
    axes.set_ylabel("test F1")


def delta_histogram(axes: Axes, frequency: Sequence[float | None]) -> None:
    """How often each delta is set in training labels; bits hold 1..bound, then -bound..-1."""
    bound = len(frequency) // 2
    values = [_nan(value) for value in frequency]
    axes.stairs(values[bound:], np.arange(-bound, 1) - 0.5, fill=True, color="#0072b2")
    axes.stairs(values[:bound], np.arange(1, bound + 2) - 0.5, fill=True, color="#0072b2")
    axes.set_xlim(-bound - 1, bound + 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("delta, blocks")
    axes.set_ylabel("share of training rows")


def _marker(entries: Sequence[str], entry: str) -> str:
    return _ENTRY_MARKERS[entries.index(entry) % len(_ENTRY_MARKERS)]


def _distinct(rows: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
