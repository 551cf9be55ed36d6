"""The building blocks of the report's page: tables, figures, numbers, and the style sheet.

`table` escapes what it is given; `figure` takes the SVG that report_plots made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

STYLE = """
:root{color-scheme:light}
body{margin:0 auto;max-width:72rem;padding:1rem;background:#fff;color:#1b1b1b;
 font:16px/1.5 system-ui,"DejaVu Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2}h2{font-size:1.25rem;margin:2.2rem 0 .5rem}
p{max-width:48rem}dl{max-width:60rem}.note{color:#444;font-size:.9rem}
.warning{border-left:4px solid #d55e00;padding-left:.75rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{font-weight:600}dd{margin:0}
pre{background:#f5f5f5;padding:.6rem;overflow-x:auto}code,pre{font-size:.85rem}
.scroll{overflow-x:auto}
table{overflow-wrap:normal;border-collapse:collapse;font-size:.85rem;margin:.5rem 0;
 font-variant-numeric:tabular-nums}
th,td{padding:.25rem .45rem;text-align:right;white-space:nowrap;border-bottom:1px solid #ddd}
thead th{white-space:normal;border-bottom:2px solid #555;vertical-align:bottom}
.text{text-align:left}
tbody th{font-weight:400}.marked>*{font-weight:700;background:#eef4fa}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem}
figure{margin:0;break-inside:avoid}figcaption{font-weight:600;font-size:.9rem}
figure svg{width:100%;max-width:36rem;height:auto}
svg *{stroke-linejoin:round;stroke-linecap:butt}
@media(max-width:40rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.4rem}}
@media print{body{font-size:10pt;padding:0;max-width:none}pre{white-space:pre-wrap}
 .scroll{overflow:visible}
 table{font-size:6.5pt}th,td{padding:.1rem .3rem}tr{break-inside:avoid}h2,h2+p{break-after:avoid}
 .figures{grid-template-columns:1fr 1fr}}
"""


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    text: int = 1,
    marked: Collection[int] = (),
) -> str:
    """A table of texts that scrolls sideways where it must; the first `text` columns are words."""
    words = [' class="text"' if i < text else "" for i in range(len(head))]
    lines = [
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">',
        "<table>\n<thead><tr>",
        *(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(head, words)),
        "</tr></thead>\n<tbody>",
    ]
    for i, (first, *others) in enumerate(rows):
        cells = [f'<th scope="row"{words[0]}>{escape(first)}</th>']
        cells += [f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(others, words[1:])]
        row_class = ' class="marked"' if i in marked else ""
        lines.append(f"<tr{row_class}>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody>\n</table></div>"])


def figure(caption: str, drawing: str) -> str:
    """An SVG element under its caption."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>\n{drawing}</figure>"


def figures(items: Iterable[str]) -> str:
    """Figures beside each other where the page is wide enough."""
    return "\n".join(['<div class="figures">', *items, "</div>"])


def number(value: float | None, spec: str) -> str:
    """The formatted value with a true minus sign; a dash where there is none (None or NaN)."""
    return "–" if value is None or value != value else f"{value:{spec}}".replace("-", "−")


def with_interval(mean: float | None, half_width: float | None, spec: str) -> str:
    """`mean ± half-width`, or the mean alone where one seed gives no interval."""
    spread = number(half_width, spec.lstrip("+"))
    return number(mean, spec) + (f" ± {spread}" if spread != "–" else "")
