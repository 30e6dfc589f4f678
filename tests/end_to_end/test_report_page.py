"""The report in a real browser: no error, filter, search and export work, nothing of a model's is run, all can read."""

import csv

import pandas
import pytest

from tests.end_to_end.browser import page
from tests.helpers import CLAIM, GOOD, as_written, bench, write

pytestmark = [pytest.mark.slow, pytest.mark.browser]
NAME = '"><img src=x onerror="window.hit=1">'
SCRIPT = "<script>window.hit=1</script> is what the model said"
SUITE = GOOD.replace("[builtin:ladder/neox-0.3m]", f"[{{name: '{NAME}', path: builtin:ladder/neox-0.3m}}]")


@pytest.fixture(scope="module")
def report(tmp_path_factory, good_run):
    """The report of a suite with a hostile model name and a hostile answer."""
    folder = tmp_path_factory.mktemp("page")
    suite = write(folder, SUITE + "  generate: {backend: transformers, prompts: 4, max_tokens: 4}\n" + CLAIM)
    good_run.copy_store(folder)  # a model's name is in no key
    done = bench("run", suite, "--results", folder / "results", "--workers", 1)
    assert done.returncode == 0, done.stderr
    for file in (folder / "results/store/generate").glob("*/*.parquet"):
        frame = pandas.read_parquet(file)
        frame.loc[frame["prompt"] == 0, "response"] = SCRIPT
        frame.loc[frame["prompt"] == 1, "response"] = f"<b>said</b> {file.parent.name}"
        frame.to_parquet(file)
        as_written(file.parent)
    built = bench("report", suite, "--results", folder / "results")
    assert built.returncode == 0, built.stderr
    return built.stdout.strip()


@pytest.fixture
def opened(report):
    with page(viewport={"width": 1280, "height": 900}, accept_downloads=True) as (found, errors):
        found.goto(f"file://{report}")
        found.wait_for_function("window.Plotly !== undefined")
        yield found
        assert errors == []


def test_figures_are_drawn(opened):
    for figure in opened.locator(".figure").all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg.main-svg").first.wait_for()
    assert opened.locator(".figure").count() >= 6


def test_nothing_that_a_model_is_called_or_says_is_run(opened):
    assert opened.evaluate("window.hit") is None
    assert opened.locator("img").count() == 0
    assert SCRIPT in opened.locator("#samples").text_content()
    assert NAME in opened.locator("#points").inner_text()


def test_the_filter_keeps_what_fits_in_tables_and_figures(opened):
    rows = opened.locator("#cells tbody tr:visible")
    assert rows.count() == 4
    opened.locator("select[data-axis=gate]").select_option("seq")
    assert rows.count() == 2
    assert opened.locator("#shown").inner_text() == "2 of 4 cells"
    opened.locator("#figure-f0").scroll_into_view_if_needed()
    opened.wait_for_function("document.getElementById('figure-f0').data !== undefined")
    shown = opened.evaluate(
        "document.getElementById('figure-f0').data.filter(t => t.visible !== false).map(t => t.meta.gate)"
    )
    assert set(shown) == {"seq"}
    opened.locator("#filters button").click()
    opened.wait_for_function("document.getElementById('shown').textContent === '4 of 4 cells'")
    opened.locator("#filter").fill("extended_sft none")
    assert rows.count() == 1


def test_what_a_policy_says_otherwise_than_before_is_marked(opened):
    """Word by word, as text; the prompts over which the cells differ most come first, with the reason."""
    marked = opened.locator(".asked tr", has_text="<b>said</b>").locator("mark")
    texts = [mark.text_content() for mark in marked.all()]
    assert len(texts) == 4  # of six, two are the warm-ups' that they are compared with
    assert all(text.isalnum() for text in texts)
    assert opened.locator(".asked b").count() == 0
    assert "nats a token over 4 cells" in opened.locator(".asked").first.text_content()


def test_answers_can_be_searched(opened):
    asked = opened.locator(".asked:visible")
    assert asked.count() == 4
    opened.locator("#search").fill("what the model said")
    assert asked.count() == 1
    assert opened.locator("#found").inner_text() == "1 of 4 prompts"


@pytest.mark.parametrize("kind", ["svg", "png", "csv"])
def test_a_figure_is_exported(opened, kind, tmp_path):
    with opened.expect_download() as download:
        opened.locator(f"[data-export={kind}]").first.click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    if kind == "csv":
        rows = list(csv.DictReader(file.open(encoding="utf-8")))
        assert {row["series"] for row in rows} >= {"gate none", "gate seq"}
        assert all(float(row["low"]) <= float(row["y"]) <= float(row["high"]) for row in rows if row["low"])
    else:
        assert file.read_bytes().lstrip()[:4] == (b"<svg" if kind == "svg" else b"\x89PNG")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read_by_all(report, scheme, width):
    """axe-core's rules: contrast, names of controls, texts for pictures; and no sideways scrolling of the page."""
    from axe_playwright_python.sync_playwright import Axe

    with page(viewport={"width": width, "height": 844}, color_scheme=scheme) as (found, errors):
        found.goto(f"file://{report}")
        found.wait_for_function("window.Plotly !== undefined")
        violations = Axe().run(found).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in violations] == []
        assert found.evaluate("document.documentElement.scrollWidth") <= width
        assert errors == []
