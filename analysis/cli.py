"""Share what every command of this room has: RESULTS..., --format, -o; bad input is one line and status 2."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from analysis.load import Results, ResultsError, load
from analysis.tables import FORMATS, Table


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help lists the options)\n")


def parser(name: str, description: str | None, output: str | None = None) -> Parser:
    """Return a parser with the options that every command has.

    `description`: the command's docstring; `output`: the name of the file that -o must give, for a command that does
    not write text to stdout.
    """
    options = Parser(
        prog=f"python -m analysis.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "results",
        nargs="+",
        metavar="RESULTS",
        help="a run's folder, or a folder of runs (a study's, or all of --results): all runs in it that go together",
    )
    options.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar=output or "FILE",
        required=output is not None,
        help=None if output else "default: stdout",
    )
    return options


def table(
    options: Parser, answer: Callable[[list[Results], argparse.Namespace], Table], argv: Sequence[str] | None
) -> int:
    """Run a command that answers with a table; return its exit status."""
    options.add_argument("--format", choices=FORMATS, help="default: FILE's ending, else md")

    def write(results: list[Results], args: argparse.Namespace) -> None:
        form = args.format or (args.output.suffix[1:] if args.output else "md")
        if form not in FORMATS:
            raise ResultsError(
                f"-o must name a file that ends in .{', .'.join(FORMATS)}, got {args.output.name!r}: "
                f"rename it or give --format"
            )
        table = answer(results, args)
        if any(result.partial for result in results):
            table = replace(table, title=f"{table.title}; partial: the run has not ended")
        if any(result.record.smoke for result in results):
            table = replace(
                table, notes=[*table.notes, "A smoke run tests the machinery: its figures say nothing else."]
            )
        table = replace(table, notes=[*table.notes, *args.read])
        table.write(form, args.output)

    return run(options, write, argv)


def run(options: Parser, body: Callable[[list[Results], argparse.Namespace], None], argv: Sequence[str] | None) -> int:
    """Read the folders and hand them to `body`, with a line on each choice among their runs as `args.read`.

    Returns 0, or 2 after one line on stderr. Characters that the terminal lacks are escaped. A reader that closes
    stdout early ends the output, not the command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    args = options.parse_args(argv)
    args.read = []
    try:
        body(load(args.results, args.read.append), args)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python reports the pipe again at exit
    except (ResultsError, OSError) as error:
        print(f"{options.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0
