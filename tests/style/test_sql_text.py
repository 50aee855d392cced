"""Names and values reach SQL text through `store.tables.sql.quoted` and `text`, or as parameters: no quotes by hand."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "xlli_ray"
SQL = re.compile(r"\b(select |create view |where |(from|join) [\"'\0]|(avg|count|isfinite|isinf|isnan)\()", re.IGNORECASE)
BY_HAND = re.compile("[\"']\0[\"']")


def quoted_by_hand(tree: ast.AST) -> Iterator[int]:
    """Lines of f-strings that look like SQL and hold `"{…}"` or `'{…}'`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            said = "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
            if SQL.search(said) and BY_HAND.search(said):
                yield node.lineno


def test_no_statement_quotes_a_name_by_hand() -> None:
    found = [f"{path.relative_to(SOURCE)}:{line}" for path in SOURCE.rglob("*.py") for line in quoted_by_hand(ast.parse(path.read_text()))]
    assert found == []


def test_the_rule_would_catch_what_it_forbids() -> None:
    bad = [
        "x = f'select avg(\"{name}\") from t'",
        "y = f\"select * from t where stage = '{stage}'\"",
        "z = f'from \"{kind}\" t'",
        'fine = f"select {column} from {table}"',
    ]
    assert [i for i, line in enumerate(bad) if list(quoted_by_hand(ast.parse(line)))] == [0, 1, 2]
