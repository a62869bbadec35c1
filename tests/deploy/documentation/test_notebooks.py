"""A notebook as a page, read back by other libraries: Markdown's for the text, nbformat's for the notebook."""

from __future__ import annotations

import base64
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from normfed_deploy.documentation.notebooks import Page, read

PICTURE = b"\x89PNG\r\n\x1a\n of nothing"


@pytest.fixture
def page(tmp_path: Path) -> Page:
    table = "<div><style scoped>td { color: red }</style><table><tr><td>0.58</td></tr></table></div>"
    cells = [
        new_markdown_cell("# Read the demo\n\nIn *order*."),
        new_code_cell("run.models", outputs=[new_output("execute_result", {"text/html": table, "text/plain": "0.58"})]),
        new_code_cell(
            "plot()",
            outputs=[
                new_output("stream", name="stdout", text="\x1b[1mbold\x1b[0m words\n"),
                new_output("display_data", {"image/png": base64.b64encode(PICTURE).decode(), "text/plain": "<Figure>"}),
            ],
        ),
        new_code_cell(""),
        new_code_cell("1 + 1", outputs=[new_output("execute_result", {"text/plain": "2"})]),
        new_code_cell("bars()", outputs=[new_output("display_data", {"text/html": "<b>bar</b>", "text/plain": "bar"})]),
    ]
    path = tmp_path / "demo.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return read(path)


def test_markdown_stays_and_its_heading_is_the_title(page: Page) -> None:
    assert page.markdown.startswith("# Read the demo\n\nIn *order*.\n")
    assert page.title == "Read the demo"


def test_code_is_code_and_an_empty_cell_is_nothing(page: Page) -> None:
    assert page.markdown.count("```python\n") == 4
    assert "```python\n1 + 1\n```\n\n```text\n2\n```" in page.markdown


def test_a_table_is_shown_and_not_its_text_nor_the_style_of_notebooks(page: Page) -> None:
    assert '<div class="output"><div><table><tr><td>0.58</td></tr></table></div></div>' in page.markdown
    assert "```text\n0.58" not in page.markdown


def test_a_picture_lies_beside_the_page(page: Page) -> None:
    assert page.pictures == {"demo-1.png": PICTURE}
    assert "(demo-1.png)" in page.markdown
    assert "<Figure>" not in page.markdown


def test_what_was_printed_is_without_colours(page: Page) -> None:
    assert "```text\nbold words\n```" in page.markdown


def test_html_that_is_no_table_is_shown_as_its_text(page: Page) -> None:
    assert page.markdown.endswith("```text\nbar\n```\n")
