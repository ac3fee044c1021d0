"""docs/models/agents.md says of each agent what the code says of it."""

import ast
import re
from pathlib import Path

import pytest

from grandmodel.features.schema import STRATEGIC_SCHEMA, TACTICAL_SCHEMA
from grandmodel.models.architecture import RISK_SCALES, STOP_SCALES, strategic_architecture, tactical_architecture

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/models/agents.md").read_text(encoding="utf-8")
CUSTOMER = ("MLMI", "NWRQK", "Regime", "Coordinator", "Tactical", "Risk", "Execution")
"""The seven of the customer's document, each with "Agent" behind it."""


def rows_of(heading):
    """The cells of each row of the tables under ``heading``, without their headings."""
    part = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")]
    return [
        row for row, below in zip(rows, [*rows[1:], [""]], strict=True) if "---" not in row[0] and "---" not in below[0]
    ]


def code_in(cell):
    return re.findall(r"`(\w+)`", cell)


def test_the_seven_stand_there_in_order_with_what_they_see_and_choose_among():
    rows = rows_of("Who they are")
    assert [row[0] for row in rows] == [f"{name} Agent" for name in CUSTOMER]
    layers = [(strategic_architecture(), STRATEGIC_SCHEMA), (tactical_architecture(), TACTICAL_SCHEMA)]
    agents = [(architecture, schema, head) for architecture, schema in layers for head in architecture.heads]
    assert [code_in(row[1]) for row in rows] == [[head.agent] for *_, head in agents]
    for (_, name, layer, columns, tail, actions), (architecture, schema, head) in zip(rows, agents, strict=True):
        assert layer == architecture.layer, name
        seen = [schema.names[place] for place in architecture.trunk(head.trunk).columns] if head.trunk else []
        everything = "all seven columns" if len(seen) == len(schema.names) else "nothing"
        assert code_in(columns) == seen or (not code_in(columns) and columns == everything), name
        assert bool(code_in(tail)) == bool(head.tail), name
        if head.agent == "risk":
            assert all(f"{value:g}" in actions for value in (*RISK_SCALES, *STOP_SCALES))
        else:
            assert actions.partition(": ")[2] or actions == ", ".join(head.actions), name
            assert actions.endswith(", ".join(head.actions)), name


@pytest.mark.parametrize("row", rows_of("Where each part is"), ids=lambda row: f"{row[1]} {row[2]}")
def test_each_part_is_defined_in_its_module(row):
    _, module, names = row
    tree = ast.parse((ROOT / "src/grandmodel" / module.strip("`")).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert set(code_in(names)) <= defined
    assert code_in(names)
