"""Make one self-contained HTML page: no network, light and dark, folds, tables that sort, figures by Plotly."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

# Style sheet, in which a figure's text and grid lines take the page's colours: one figure serves both themes.
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #d9dbe0; --paper: #fff;
  --shade: #f4f5f7; --link: #0b62c4; --good: #1a7f37; --bad: #cf222e; --open: #9a6700; --claimed: #2f9e4422; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a4a9b3; --line: #3a3f47;
  --paper: #15181c; --shade: #1f2329; --link: #6cb2ff; --good: #56d364; --bad: #ff7b72; --open: #e3b341;
  --claimed: #56d36426; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
p, h1, h2, h3, li { overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; line-height: 1.3; } h2 { font-size: 1.15rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
a { color: var(--link); } .soft { color: var(--soft); } .answer { font-size: 1.1rem; font-weight: 600; }
summary { cursor: pointer; } summary > h1, summary > h2 { display: inline; margin: 0; }
details.part { margin-top: 1.6rem; border-top: 1px solid var(--line); padding-top: 1rem; }
details.study > summary { padding: .6rem 0; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td { max-width: 28rem; } td.short { white-space: nowrap; }
thead th { position: sticky; top: 0; background: var(--shade); white-space: nowrap; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--link); }
th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
nav ol, nav ul { padding-left: 1.4rem; } nav li { margin: .3rem 0; }
section + section { margin-top: 1.5rem; border-top: 2px solid var(--line); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1rem 0; min-width: 0; } figcaption { font-size: .9rem; color: var(--soft); overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 0 1.5rem; }
.main-svg text:not(.hoverlayer *) { fill: var(--ink) !important; }
.main-svg .gridlayer path, .main-svg .zerolinelayer path { stroke: var(--line) !important; }
.forest { margin: .5rem 0 1rem; }
.forest summary, .forest .row, .forest .axis { display: grid;
  grid-template-columns: minmax(0, 3fr) minmax(0, 4fr) minmax(0, 2fr);
  gap: .2rem 1rem; align-items: center; padding: .35rem 0; border-bottom: 1px solid var(--line); }
.forest .axis { padding: 0; border: 0; } .forest .row { color: inherit; text-decoration: none; }
.forest summary { list-style: none; } .forest summary::-webkit-details-marker { display: none; }
.forest summary > .said::before { content: "▸ "; color: var(--soft); }
.forest details[open] > summary > .said::before { content: "▾ "; }
.forest svg { width: 100%; height: 34px; overflow: visible; display: block; }
.forest .axis svg { height: 18px; } .forest text { font-size: 11px; fill: var(--soft); }
.forest .said, .forest .mark { font-size: .92rem; line-height: 1.35; overflow-wrap: anywhere; }
.forest dl { margin: .4rem 0 1rem 1rem; font-size: .9rem; }
.reproduced { --mark: var(--good); } .contradicted { --mark: var(--bad); } .undecided { --mark: var(--open); }
.not-tested, .confounded { --mark: var(--soft); }
.forest .mark { color: var(--mark); } .forest .ours { stroke: var(--mark); fill: var(--mark); }
.forest .own { stroke: var(--soft); fill: var(--soft); opacity: .6; }
.forest .note { stroke: var(--ink); fill: var(--paper); } .forest .none { stroke: var(--soft); stroke-dasharray: 3 3; }
.forest .claimed { fill: var(--claimed); }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(4.4rem, 1fr)); gap: .4rem; }
.pictures figure { margin: 0; } .pictures figcaption { font-size: .75rem; line-height: 1.2; }
.pictures img, img.strip { width: 100%; image-rendering: pixelated; display: block; }
img.strip { max-width: 48rem; }
@media (max-width: 40rem) {
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; } dd { margin-bottom: .4rem; }
  .forest summary, .forest .row, .forest .axis { grid-template-columns: minmax(0, 1fr); }
  .forest .axis > :not(svg) { display: none; }
}
"""

# Script by which a click on a heading sorts a table: numbers by value, empty cells last; a second click reverses.
_SORT = """
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

# Script by which a link to a part, or to something in it, opens what it is folded in.
_UNFOLD = """
const unfold = () => {
  const goal = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!goal) return;
  goal.querySelector(':scope > details.study')?.setAttribute('open', '');
  for (let at = goal; at; at = at.parentElement) if (at.tagName === 'DETAILS') at.open = true;
  goal.scrollIntoView();
};
addEventListener('hashchange', unfold);
document.querySelectorAll('a[href^="#"]').forEach(a => a.addEventListener('click', () => setTimeout(unfold)));
unfold();
"""

# Script that draws a figure when it is unfolded: of many studies only what is looked at costs time and memory.
_DRAW = """
const unpack = async name => {
  const packed = document.getElementById(name).textContent;
  const bytes = Uint8Array.from(atob(packed), c => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
};
let figures, drawing = Promise.resolve();
const draw = () => drawing = drawing.then(async () => {
  const seen = [...document.querySelectorAll('.plotly-graph-div:not(.js-plotly-plot)')].filter(
    f => !f.parentElement.closest('details:not([open])'));
  if (!seen.length) return;
  if (!figures) {
    figures = JSON.parse(await unpack('packed-figures'));
    const script = document.createElement('script');
    script.textContent = await unpack('packed-plotly');
    document.head.append(script);
  }
  for (const place of seen) {
    const {data, layout} = figures[place.id];
    if (matchMedia('(pointer: coarse)').matches) layout.dragmode = false;  // a finger scrolls the page
    await Plotly.newPlot(place, data, layout, {responsive: true, displayModeBar: false});
  }
  document.documentElement.dataset.drawn = document.querySelectorAll('.js-plotly-plot').length;
}).catch(error => document.querySelectorAll('.plotly-graph-div:not(.js-plotly-plot)').forEach(
  f => f.textContent = `This browser cannot draw the figure: ${error}`));
addEventListener('toggle', draw, true);
draw();
"""

# Script that loads a running study's page again, and keeps what is unfolded and where the reader is.
_AGAIN = """
const folds = () => [...document.querySelectorAll('details')];
try {
  const kept = JSON.parse(sessionStorage.getItem('page') || 'null');
  if (kept && kept.title === document.title && kept.open.length === folds().length) {
    folds().forEach((fold, i) => fold.open = kept.open[i]);
    scrollTo(0, kept.top);
  }
} catch { }
setTimeout(() => {
  try {
    sessionStorage.setItem('page', JSON.stringify(
      {title: document.title, open: folds().map(fold => fold.open), top: scrollY}));
  } catch { }
  location.reload();
}, SECONDS * 1000);
"""

_FIGURE = re.compile(r'<script type="application/json" data-figure="([^"]*)">(.*?)</script>', re.DOTALL)


def figure(drawn: go.Figure, name: str, height: int | None = None) -> str:
    """Return the figure as a fragment for `page`; `name` is its element's id, so that a page repeats exactly.

    The figure's title becomes a caption, which wraps. `height` in pixels, by default the layout's.
    """
    drawn.update_layout(paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")
    if height:
        drawn.update_layout(height=height)
    spec = json.loads(drawn.to_json())
    layout = spec["layout"]
    title = (layout.pop("title", None) or {}).get("text", "")
    caption = f"<figcaption>{title}</figcaption>" if title else ""
    packed = json.dumps({"data": spec["data"], "layout": layout}, separators=(",", ":")).replace("<", "\\u003c")
    size = f"height:{layout.get('height', 440)}px"
    return (
        f'<figure>{caption}<div class="plotly-graph-div" id="{name}" style="{size}"></div>'
        f'<script type="application/json" data-figure="{name}">{packed}</script></figure>'
    )


def fold(title: str, body: str, name: str = "", *, opened: bool = False, style: str = "") -> str:
    """Return `body` under a line, already HTML, that folds and unfolds it; `name` is the element's id."""
    told = "".join(
        f" {key}" if value is True else f' {key}="{value}"'
        for key, value in (("id", name), ("class", style), ("open", opened))
        if value
    )
    return f"<details{told}><summary>{title}</summary>\n{body}\n</details>"


def page(title: str, parts: Sequence[str], again: int | None = None) -> str:
    """Return a whole page of `parts`, each already HTML; with `again` the page loads itself after as many seconds."""
    body = "\n".join(parts)
    figures = {name: json.loads(spec) for name, spec in _FIGURE.findall(body)}
    body = _FIGURE.sub("", body)
    scripts = [_SORT, _UNFOLD]
    data = ""
    # plotly.js is 4.8 MB, and 2 MB packed: included only if a figure needs it.
    if figures:
        data = _packed("packed-figures", json.dumps(figures, separators=(",", ":"))) + _packed(
            "packed-plotly", get_plotlyjs()
        )
        scripts.append(_DRAW)
    if again:
        scripts.append(_AGAIN.replace("SECONDS", str(again)))
    run = "\n".join(f"<script>{script}</script>" for script in scripts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{body}
</main>
{data}{run}
</body>
</html>
"""


def _packed(name: str, text: str) -> str:
    packed = base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
    return f'<script type="text/plain" id="{name}">{packed}</script>\n'
