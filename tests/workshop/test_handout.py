"""The handout: two pages, with the words of the glossary and what the model found."""

import sys
from pathlib import Path

import pytest

pdfium = pytest.importorskip("pypdfium2", reason="pypdfium2, which reads the printed pages, is not installed")
sys.path.insert(0, str(Path(__file__).parents[2] / "workshop"))

import handout  # noqa: E402 - the workshop's programs are no package

import efimm  # noqa: E402 - as above


def test_the_handout_is_two_pages_with_everything_on_them(tmp_path):
    written = tmp_path / "handout.pdf"
    try:
        handout.print_pdf(handout.html(), written)
    except ValueError as error:
        pytest.skip(str(error))
    with pdfium.PdfDocument(written) as document:
        pages = [" ".join(page.get_textpage().get_text_range().split()) for page in document]

    assert len(pages) == 2
    assert f"needs slot {efimm.run(efimm.machine('600G'), '3.5').slot}, which is empty" in pages[0]
    assert "b8f2c21db390" in pages[0]
    assert all(term in pages[1] for term in handout.TERMS)
    assert all(command.split()[1] in pages[1] for command, _ in handout.COMMANDS)
    assert "CC BY 4.0" in pages[1]


def test_a_term_that_the_glossary_no_longer_has_is_told(monkeypatch):
    monkeypatch.setattr(handout, "TERMS", ("Phlogiston",))

    with pytest.raises(KeyError, match="Phlogiston"):
        handout.short_glossary()


def test_without_a_browser_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(handout.shutil, "which", lambda _: None)

    with pytest.raises(ValueError, match="expected a browser that prints"):
        handout.print_pdf("", tmp_path / "x.pdf")
