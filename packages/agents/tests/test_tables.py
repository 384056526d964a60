from __future__ import annotations

from sightline.agents.tables import Table

TABLE = Table(("agent", "success"), (("react", "40 %"), ("a|b", "50 %")), caption="On 10 goals.")


def test_a_table_becomes_markdown_with_its_bars_escaped() -> None:
    assert TABLE.markdown() == "| agent | success |\n| --- | --- |\n| react | 40 % |\n| a\\|b | 50 % |\n"
