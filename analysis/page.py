"""One self-contained HTML page: no network, light and dark, tables that sort, figures by plotly."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

# Text and grid lines of a figure take the page's colours, so that one figure serves both themes.
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #d9dbe0; --paper: #fff;
  --shade: #f4f5f7; --link: #0b62c4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a4a9b3; --line: #3a3f47;
  --paper: #15181c; --shade: #1f2329; --link: #6cb2ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
p, h1 { overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; line-height: 1.3; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
a { color: var(--link); } .soft { color: var(--soft); } .answer { font-size: 1.1rem; font-weight: 600; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td { max-width: 28rem; } td.short { white-space: nowrap; }
thead th { position: sticky; top: 0; background: var(--shade); white-space: nowrap; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--link); }
th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
nav ol { padding-left: 1.4rem; } nav li { margin: .3rem 0; overflow-wrap: anywhere; }
section + section { margin-top: 4rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.main-svg text:not(.hoverlayer *) { fill: var(--ink) !important; }
.main-svg .gridlayer path, .main-svg .zerolinelayer path { stroke: var(--line) !important; }
"""

# A click on a heading sorts by it: numbers by value, empty cells last, a second click turns it round.
_SCRIPT = """
document.querySelectorAll('thead th').forEach(th => th.firstChild.addEventListener('click', () => {
  const up = th.ariaSort !== 'ascending', rows = th.closest('table').tBodies[0];
  const key = row => row.cells[th.cellIndex].textContent;
  const number = text => Number(text.replaceAll(',', ''));
  const compare = (a, b) => !a || !b ? !a - !b : (up ? 1 : -1) *
    (number(a) - number(b) || (isNaN(number(a) - number(b)) ? a.localeCompare(b, 'en') : 0));
  for (const other of th.parentNode.cells) other.removeAttribute('aria-sort');
  th.ariaSort = up ? 'ascending' : 'descending';
  rows.append(...[...rows.rows].sort((a, b) => compare(key(a), key(b))));
}));
"""


def figure(drawn: go.Figure, name: str) -> str:
    """The figure as a fragment for `page`; `name` is its element's id, so that a page repeats exactly."""
    drawn.update_layout(paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")
    return drawn.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        config={"responsive": True, "displayModeBar": False},
    )


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page of `parts`, each already HTML."""
    body = "\n".join(parts)
    # plotly.js is 4 MB: only where a figure needs it.
    plotly = f"<script>{get_plotlyjs()}</script>\n" if "plotly-graph-div" in body else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
{plotly}</head>
<body>
<main>
{body}
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""
