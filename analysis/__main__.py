"""List the commands that answer from results folders: `python -m analysis`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from pathlib import Path


def commands() -> dict[str, str]:
    """Return each module of this room that is a command, with the first sentence of its docstring."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        # Parsed, not imported: importing all commands takes seconds.
        tree = ast.parse(file.read_text(encoding="utf-8"))
        is_command = any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
        if is_command and not file.stem.startswith("_"):
            said = " ".join((ast.get_docstring(tree) or "").partition("\n\n")[0].split())
            found[file.stem] = said.partition(": ")[0].removesuffix(".")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the commands; return 0, or 2 after one line on stderr if there are arguments."""
    listed = commands()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments not in (["-h"], ["--help"]):
        known = f"python -m analysis.{arguments[0]}" if arguments[0] in listed else "python -m analysis"
        print(f"python -m analysis takes no arguments, got {arguments[0]!r}: try {known}", file=sys.stderr)
        return 2
    width = max(map(len, listed))
    print("python -m analysis.COMMAND RESULTS... (--help says more)")
    print("RESULTS is a run's folder, or a folder of runs: a study's, or all of --results. COMMAND is one of\n")
    for name, said in listed.items():
        print(f"  {name:{width}}  {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
