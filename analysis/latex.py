"""Write a table as LaTeX that fits its page: paragraph columns, a page break where it is long, landscape where wide.

The table needs the packages of its first line, which every LaTeX distribution has. Widths are estimated from the number
of characters, as TeX measures none before it is run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pandas as pd

PACKAGES = "array, longtable, pdflscape"
PORTRAIT, LANDSCAPE = 345, 550  # points of the text's width in the article class, upright and on a turned page
SEPARATOR = 6  # points between two columns
FONTS = ((r"\small", 4.7), (r"\footnotesize", 4.4), (r"\scriptsize", 4.1))  # with points of an average character
SHORT = 16  # most characters of a column that is not broken into lines
NARROWEST = 9  # fewest characters of a line in a column of text
MARKS = "_/=.,:;+@"  # marks after which a long word is broken first
SAFE, BOLD = 0.85, 0.7  # parts of a width that a word of wide letters, and one in bold letters, may take unbroken
_LATIN = re.compile(r"[\x20-\x7e\u00c0-\u00ff–—‘’“”…]")

_TEX = (
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "×": r"$\times$", "−": "$-$", "·": r"$\cdot$"}
    | {"≤": r"$\le$", "≥": r"$\ge$", "→": r"$\to$", "\n": " ", "\t": " ", "[": "{[}", "]": "{]}"}
)


def escape(text: str, width: int | None = None) -> str:
    """Return text as LaTeX prints it; a word of over `width` characters may be broken after marks, else anywhere.

    A character that LaTeX's standard fonts lack is named by its number.
    """
    words = []
    for word in _known(text).split(" "):
        parts, room = [], width or math.inf
        for place, character in enumerate(word):
            parts.append(_TEX.get(character, character))
            room -= 1
            after = word[place + 1 : place + 2]
            if width and len(word) > width and after and (character in MARKS or (room <= 0 and after not in MARKS)):
                parts.append(r"\allowbreak{}")
                room = width
        words.append("".join(parts))
    return " ".join(words)


def _known(text: str) -> str:
    """Return text with the number of each character in its place that LaTeX's standard fonts lack."""
    return "".join(c if c in _TEX or _LATIN.fullmatch(c) else f"(U+{ord(c):04X})" for c in text)


def latex(title: str, shown: pd.DataFrame, notes: Sequence[str]) -> str:
    """Return a longtable of `shown` whose width is at most the text's, with title and notes as its caption."""
    shown = shown.map(_known)
    columns = [_known(str(name)) for name in shown]
    shown.columns = columns
    natural = [max([len(name), *map(len, texts)]) for name, texts in shown.items()]
    turned, font, widths = layout(natural, [max(_words([name, *texts])) for name, texts in shown.items()])
    points = LANDSCAPE if turned else PORTRAIT
    size = dict(FONTS)[font]
    kinds = []
    for longest, width in zip(natural, widths, strict=True):
        share = width * size / points
        kinds.append("l" if longest <= width else rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\linewidth}}")

    def line(cells: Sequence[str], style: str = "", part: float = SAFE) -> str:
        texts = (
            escape(text, None if longest <= width else int(width * part))
            for text, longest, width in zip(cells, natural, widths, strict=True)
        )
        return " & ".join(f"{style}{text}" for text in texts) + r" \\"

    caption = " ".join([title + ".", *notes])
    head = line(columns, r"\bfseries ", BOLD)
    return "\n".join(
        [
            rf"% needs \usepackage{{{PACKAGES}}}",
            *([r"\begin{landscape}"] if turned else []),
            rf"\begingroup{font}\setlength{{\tabcolsep}}{{{SEPARATOR / 2:g}pt}}",
            rf"\begin{{longtable}}{{@{{}}{''.join(kinds)}@{{}}}}",
            rf"\caption{{{escape(caption)}}} \\",
            r"\hline",
            head,
            r"\hline",
            r"\endfirsthead",
            r"\hline",
            head,
            r"\hline",
            r"\endhead",
            *(line(row) for row in shown.to_numpy()),
            r"\hline",
            r"\end{longtable}",
            r"\endgroup",
            *([r"\end{landscape}"] if turned else []),
            "",
        ]
    )


def _words(texts: Sequence[str]) -> list[int]:
    return [0, *(len(word) for text in texts for word in text.split())]


def layout(natural: Sequence[int], words: Sequence[int]) -> tuple[bool, str, list[float]]:
    """Return whether the page is turned, the font, and each column's width in characters.

    `natural` are the columns' longest cells, `words` their longest words, in characters. The largest font on an upright
    page is taken in which every column of text has a readable width; the smallest on a turned page otherwise.
    """
    for turned, points in ((False, PORTRAIT), (True, LANDSCAPE)):
        for font, size in FONTS:
            room = (points - SEPARATOR * (len(natural) - 1)) / size
            if sum(natural) <= room:
                return turned, font, list(map(float, natural))
            widths = shared(natural, room)
            wanted = (min(word, 14) for word in words)
            if all(
                width >= max(NARROWEST, word) or width >= longest
                for width, word, longest in zip(widths, wanted, natural, strict=True)
            ):
                return turned, font, widths
    return turned, font, widths


def shared(natural: Sequence[int], room: float) -> list[float]:
    """Share out `room` characters: short columns get all they need, if that leaves the others as much again each."""
    widths = [float(longest) for longest in natural]
    taken = [longest for longest in natural if longest <= SHORT]
    left = room - sum(taken)
    broad = [place for place, longest in enumerate(natural) if longest > SHORT]
    if not broad or left < NARROWEST * len(broad):
        # Not even the short ones have room: all shrink alike.
        return [longest * room / sum(widths) for longest in widths]
    # Text grows in two directions, so a column with four times the text gets twice the width.
    weights = {place: math.sqrt(natural[place]) for place in broad}
    while broad:
        each = left / sum(weights[place] for place in broad)
        enough = [place for place in broad if natural[place] <= each * weights[place]]
        if not enough:
            for place in broad:
                widths[place] = each * weights[place]
            break
        left -= sum(natural[place] for place in enough)
        broad = [place for place in broad if place not in enough]
    return widths
