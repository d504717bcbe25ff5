"""Of a space file counts what binds or changes an object that the trainable uses, and nothing else."""

from __future__ import annotations

import ast
import textwrap

import pytest

from search.used import used_statements


def counted(text: str) -> list[str]:
    """Return the statements, but the function's own, that count for a function `net` which uses CFG, LAYERS and nn."""
    whole = f"def net(classes):\n    return nn.Linear(CFG['width'], LAYERS[0].size)\n{textwrap.dedent(text)}"
    return [ast.unparse(each) for each in used_statements(ast.parse(whole), {"net"}, lambda _: True)[1:]]


@pytest.mark.parametrize(
    "changing",
    [
        "CFG['width'] = 8",
        "CFG['deep']['er'].width = 8",
        "CFG['width'] += 8",
        "del CFG['width']",
        "CFG.update(width=8)",
        "CFG.setdefault('sizes', []).append(8)",
        "CFG |= {'width': 8}",
        "LAYERS.append(1)",
        "LAYERS[0].size = 8",
        "old = CFG.pop('width')",
        "net.default = 3",
        "setattr(net, 'default', 3)",
        "nn.Linear = Mine",
        "random.shuffle(LAYERS)",
        "random.shuffle(x=LAYERS)",
        "LAYERS.freeze()",
        "vars(net)['default'] = 3",
        "globals()['CFG'] = {}",
        "for k in 'ab':\n    CFG[k] = 8",
        "for layer in LAYERS:\n    layer.size = 8",
        "for i, layer in enumerate(LAYERS):\n    layer.size = i",
        "if True:\n    CFG['width'] = 8",
        "with open('x') as file:\n    CFG['width'] = 8",
        "[LAYERS.append(i) for i in range(3)]",
        "(first := LAYERS[0]).size = 8",
    ],
)
def test_a_statement_that_changes_what_is_used_counts(changing: str) -> None:
    assert "\n".join(counted(changing)) == ast.unparse(ast.parse(changing))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("def fill():\n    CFG['width'] = 8\nfill()", 2),
        ("def fill(n):\n    global CFG\n    CFG = n\nfill(8)", 2),
        ("def inner():\n    LAYERS.append(1)\ndef fill():\n    inner()\nfill()", 3),
        ("def again():\n    again()\n    CFG.clear()\nagain()", 2),
        ("part = CFG['part']\npart['width'] = 8", 2),
        ("def register(f):\n    LAYERS.append(f)\n    return f\n@register\ndef block():\n    pass", 2),
        ("@LAYERS.register('block')\ndef block():\n    pass", 1),
        ("class Block:\n    LAYERS.append(1)", 1),
    ],
)
def test_a_change_by_another_function_or_name_counts(text: str, count: int) -> None:
    assert len(counted(text)) == count


@pytest.mark.parametrize(
    "other",
    [
        "study = Study(trainable=image_trainable(net), param_space={'width': tune.choice([CFG['width']])})",
        "def space():\n    d = {}\n    d['lr'] = CFG['lr']\n    return d\nstudy = Study(net, param_space=space())",
        "print(CFG, LAYERS)",
        "assert net(10) is not None",
        "arms = {}\narms['one'] = {'width': CFG['width']}",
        "arms = dict(CFG)\narms['width'] = 8",
        "for name in CFG:\n    arms[name] = 8",
        "import nn\nnn.manual_seed(0)",
        "from torch import nn\n@nn.no_grad()\ndef evaluate():\n    pass",
        "def unused():\n    CFG['width'] = 8",
        "change = lambda: CFG.clear()",
        "if __name__ == '__main__':\n    search(net, study)",
    ],
)
def test_a_statement_that_changes_nothing_that_is_used_is_no_part(other: str) -> None:
    told = counted(other)
    assert not any(each for each in told if not each.startswith(("import", "from"))), told
