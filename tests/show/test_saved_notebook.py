"""What is left when the kernel is gone: the slider still answers, and a saved notebook shows its pictures."""

import json

import pytest
from test_browser import chromium, jupyterlab, pytestmark

from benchmarks.views import lab as views_lab

__all__ = ["chromium", "pytestmark"]  # a fixture and the marks of this module: pytest finds them by name

CELLS = (
    "from efimm.show import ram_slider\nram_slider('1T', kernels=('3.5',), firmwares=('edk2',))",
    "from efimm.show import tables_view\ntables_view()",
    "from efimm.course import predict\npredict('Slot?', 1)",
)
SEEN = """() => [...document.querySelectorAll(".jp-OutputArea-output")]
    .filter((node) => node.getBoundingClientRect().height > 0).map((node) => node.innerText)"""


@pytest.mark.slow
def test_a_saved_notebook_without_its_kernel_shows_its_pictures(chromium, tmp_path):
    cells = [
        {"cell_type": "code", "source": text, "execution_count": None, "metadata": {}, "outputs": [], "id": f"c{k}"}
        for k, text in enumerate(CELLS)
    ]
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "kept.ipynb").write_text(json.dumps(notebook))
    with jupyterlab(tmp_path) as address:
        page = opened(chromium, f"{address}/lab/tree/kept.ipynb?reset")
        page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
        page.locator(".efimm.slider svg.picture").wait_for(timeout=120_000)
        page.locator(".efimm form.predict").wait_for(timeout=60_000)
        page.wait_for_timeout(1000)
        alive = page.locator("svg.picture:visible").count(), page.locator(".efimm-saved:visible").count()
        page.evaluate("jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_timeout(2000)
        page.evaluate("void jupyterapp.commands.execute('kernelmenu:shutdown')")
        page.wait_for_timeout(1000)
        page.wait_for_function(
            "document.querySelector('.efimm.slider').innerText.includes('needs Python')", timeout=30_000
        )
        page.locator(".efimm.slider input[type=range]").focus()
        page.keyboard.press("ArrowLeft")
        sizes = page.get_by_label("Largest page", exact=True).locator("option").all_inner_texts()
        headline = page.locator(".efimm.slider p.verdict").inner_text()
        page.locator(".efimm.slider [data-moment='1']").click()
        rewound = page.locator(".efimm.slider p.verdict").inner_text()
        page.close()
        again = opened(chromium, f"{address}/lab/tree/kept.ipynb?reset")
        again.locator(".efimm-saved img:visible").nth(1).wait_for(timeout=60_000)
        again.wait_for_timeout(3000)
        words = again.evaluate(SEEN)
        pictures = again.locator(".efimm-saved img:visible").evaluate_all(
            "(nodes) => nodes.filter((node) => node.naturalWidth > 900).length"
        )
        verdict = again.locator(".efimm-saved strong:visible").first.inner_text()
        again.close()

    assert alive == (2, 0)
    assert sizes == ["1G", "2M (needs Python)", "4K (needs Python)"]
    assert headline.startswith("Page fault")
    assert rewound.startswith("So far: ")  # the beads' scenes were sent along
    assert pictures == 2
    assert verdict.startswith("Page fault: the firmware's read")
    assert [text for text in words if "model not found" in text] == []
    assert any("Slot?" in text for text in words)


def opened(chromium, url):
    page = chromium.new_page(viewport={"width": 1366, "height": 2000})
    page.goto(url)
    page.wait_for_function("window.jupyterapp && document.querySelector('.jp-Notebook')", timeout=90_000)
    page.wait_for_function(views_lab._KERNEL_IS_THERE, timeout=90_000)
    return page
