"""The frame of a report in HTML: a page that needs nothing else, its tables, its words for the reader."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --faint: #555; --paper: #fff; --line: #ccc; --chosen: #e6eef8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --faint: #aaa; --paper: #16181c; --line: #444; --chosen: #1f3048; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 80rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p, li, dd, figcaption, caption { max-width: 48rem; }
.stamp { max-width: none; margin: 0; padding: .5rem .8rem; border: 1px solid var(--line); border-left-width: 6px; }
.warning { border: 3px double; font-weight: bold; }
.verdicts { font-weight: bold; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding-bottom: .4rem; }
th, td { padding: .25rem .4rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
td { white-space: nowrap; overflow-wrap: normal; }
thead th { vertical-align: bottom; overflow-wrap: normal; }
th:first-child { text-align: left; max-width: 16rem; overflow-wrap: break-word; }
.model > * { background: var(--chosen); font-weight: bold; }
figure { margin: 0; }
img { max-width: 100%; height: auto; box-sizing: border-box; background: #fff; padding: .5rem; border-radius: 4px; }
figcaption { color: var(--faint); font-size: .9rem; }
dt { font-weight: bold; margin-top: .6rem; }
dd { margin-left: 0; }
@page { size: A4; margin: 14mm; }
@media print {
  :root { color-scheme: light; --ink: #000; --faint: #333; --paper: #fff; --line: #999; --chosen: #eee; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  .wide { overflow: visible; }
  table { font-size: 6.6pt; width: 100%; }
  th, td { padding: .15rem .2rem; }
  td { white-space: normal; }
  th:first-child { max-width: 32mm; }
  thead { display: table-header-group; }
  tr, figure { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""

HOW_TO_READ = """<section>
<h2>How to read this</h2>
<dl>
<dt>Nats</dt>
<dd>Before each return, a model spreads probability over what may come. Its score is minus the logarithm of what it gave
to what did come, so less is better. A model that is better by 0.01 nats gave the returns that came about 1 % more
probability each, on average. A bit is 0.69 nats: twice the probability. Nats are not profits.</dd>
<dt>An edge</dt>
<dd>Scores change from date to date, so every difference comes with its standard error, in which all assets of one date
count as a single observation. A claim needs a 95 % interval without zero. Where zero lies within, this page says
“no edge”, however good the figure looks.</dd>
<dt>Unconditional</dt>
<dd>The spread of past returns, whatever the market has just done. Most of what any model gains over it is knowing when
times are rough. The rivals to beat are the GARCH models and the linear map.</dd>
<dt>CRPS</dt>
<dd>How far the forecast as a whole lay from what came, in units of the return: the absolute error of a forecast that is
a single value. One basis point is 0.01 %. Less is better.</dd>
<dt>Coverage</dt>
<dd>Of intervals that should hold 90 % of the returns, the share that did. Below 90 the model is too sure of itself,
above it is too cautious. Right coverage alone is no skill: the unconditional spread can have it too.</dd>
<dt>Value at risk and shortfall</dt>
<dd>One return in a hundred should fall below the 1 % value at risk. More says that losses are underestimated, far fewer
that the model cries wolf. The shortfall test asks if those returns were also deeper than forecast.</dd>
<dt>p</dt>
<dd>How often a model without fault would look this bad by chance. Of many assets and tests, one in twenty falls below
0.05 with nothing wrong. In the column “MCS” (model confidence set) p asks another question: models with a p above 0.05
cannot be told from the best.</dd>
<dt>Direction</dt>
<dd>How often the sign was right, beside how often the commoner sign came. Nothing is learned about direction unless the
interval lies above the latter.</dd>
</dl>
</section>"""


def table(label: str, caption: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str], bool]]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    lines = []
    for name, cells, chosen in rows:
        shade = ' class="model"' if chosen else ""
        data = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr{shade}><th scope="row">{escape(name)}</th>{data}</tr>')
    return (
        f'<div class="wide" role="region" aria-label="{escape(label)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )
