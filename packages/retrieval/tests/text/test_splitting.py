from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.retrieval.text import html_to_markdown, split_text

GUIDE = """# Lamps

Some lamps. They shine.

## Sizes

| size | price |
|---|---|
| XL | $9 |

```python
# no heading
x = 1

y = 2
```

# Mugs #

- small
- large
"""


def test_passages_keep_blocks_whole_and_know_their_headings():
    passages = split_text(GUIDE, markup="markdown", max_length=60)
    assert all(GUIDE[one.start : one.end] == one.text for one in passages)
    headings = {one.headings for one in passages}
    assert headings == {("Lamps",), ("Lamps", "Sizes"), ("Mugs",)}
    assert any("| XL | $9 |" in one.text and "| size | price |" in one.text for one in passages)
    assert any("x = 1\n\ny = 2" in one.text for one in passages)
    assert any("- small\n- large" in one.text for one in passages)


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.sampled_from("ab1. \n#-|`。！灰ก"), max_size=300),
    st.integers(1, 40),
    st.sampled_from(["plain", "markdown"]),
)
def test_nothing_is_lost_and_no_passage_is_too_long(text: str, limit: int, markup):
    passages = split_text(text, markup=markup, max_length=limit)
    assert "".join("".join(one.text for one in passages).split()) == "".join(text.split())
    assert all(len(one.text) <= limit and text[one.start : one.end] == one.text for one in passages)


def test_lengths_may_be_tokens_and_passages_may_overlap():
    text = " ".join(f"word{number}" for number in range(40))
    passages = split_text(text, max_length=5, overlap=2, length=lambda piece: len(piece.split()))
    assert all(len(one.text.split()) <= 5 for one in passages)
    assert all(second.start < first.end for first, second in pairwise(passages))
    assert split_text("灰色的。黑色的。白色的。", max_length=8)[0].text == "灰色的。黑色的。"


def test_short_lines_are_joined_and_pages_of_html_keep_their_structure():
    assert [one.text for one in split_text("$9\nRed\nXL\nsize\n", max_length=10)] == ["$9\nRed\nXL", "size"]
    markdown = html_to_markdown(
        "<h2>Sizes</h2><table><tr><th>size</th></tr><tr><td>XL</td></tr></table><script>evil()</script>"
        "<ul><li>one</li><li>two</li></ul>"
    )
    (passage,) = split_text(markdown, markup="markdown")
    assert passage.headings == ("Sizes",)
    assert "| XL |" in passage.text
    assert "* one\n* two" in passage.text
    assert "evil" not in markdown


@pytest.mark.parametrize("lengths", [{"max_length": 0}, {"max_length": 5, "overlap": 5}, {"overlap": -1}])
def test_lengths_that_make_no_sense_are_refused(lengths: dict[str, Any]):
    with pytest.raises(ValueError, match="max_length must be"):
        split_text("text", **lengths)
