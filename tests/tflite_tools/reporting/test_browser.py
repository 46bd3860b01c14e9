"""The page in headless Chromium, as wide as a desktop's window and as a phone."""

import os
import shutil

import pytest
import sample_pages

#: Keeps Chromium from anything that needs a network, a screen or a user.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

WIDTHS = {"desktop": 1280, "phone": 390}


def chromium():
    """Where the browser is; without one the test is skipped, in continuous integration fails."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"there is no browser to look at the page with ({', '.join(NAMES)})"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as driver:
        # Playwright gives it a new, empty profile each time.
        opened = driver.chromium.launch(executable_path=path, args=[*FLAGS], headless=True)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    sample_pages.page_of(sample_pages.write_file(folder / "m.tflite")).save(folder / "page.html")
    return (folder / "page.html").as_uri()


@pytest.fixture(params=WIDTHS)
def view(request, browser, document):
    """The page, open; what its console says is in `view.said`, what it asks for in `view.asked`."""
    context = browser.new_context(viewport={"width": WIDTHS[request.param], "height": 800})
    view = context.new_page()
    view.said, view.asked = [], []
    view.on("console", lambda message: view.said.append(message.text))
    view.on("pageerror", lambda error: view.said.append(str(error)))
    view.on("request", lambda request: view.asked.append(request.url))
    view.goto(document)
    for details in view.locator("summary").all():
        details.click()
    yield view
    context.close()


def test_no_error_and_nothing_loaded(view, document):
    assert view.said == []
    assert [url for url in view.asked if not url.startswith("data:")] == [document]
    assert view.evaluate("typeof hacked") == "undefined"


def test_nothing_is_wider_than_the_screen(view):
    width = view.viewport_size["width"]
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert view.evaluate("document.body.scrollWidth") <= width


def test_pictures_load(view):
    widths = view.evaluate("Array.from(document.images, image => image.naturalWidth)")
    assert len(widths) == 4 and min(widths) > 0
    columns = view.locator("figure.chart rect")
    assert columns.count() > 0 and columns.first.bounding_box()["height"] > 0


def column(table, place):
    """The sort values of a column, from top to bottom."""
    return table.evaluate(
        "(table, place) => Array.from(table.tBodies[0].rows,"
        " row => row.cells[place].getAttribute('data-value'))",
        place,
    )


def test_every_table_is_sorted_by_a_click(view):
    tables = view.locator("table").all()
    assert len(tables) == 4
    reordered = set()
    for table in tables:
        headings = table.locator("thead th")
        for place in range(headings.count()):
            heading = headings.nth(place)
            numeric = heading.get_attribute("data-numeric") is not None
            before = column(table, 0)
            for order in ("descending", "ascending") if numeric else ("ascending", "descending"):
                heading.locator("button").click()
                assert heading.get_attribute("aria-sort") == order
                assert table.locator("[aria-sort]").count() == 1
                found = column(table, place)
                values = [float(v) if numeric else v for v in found if v is not None]
                assert found[len(values) :] == [None] * (len(found) - len(values))
                if numeric:
                    assert values == sorted(values, reverse=order == "descending")
            if column(table, 0) != before:
                reordered.add(table.get_attribute("id"))
    assert {"operators-table", "kinds-table"} <= reordered
    assert view.said == []


def test_words_and_keys(view):
    table = view.locator("#operators-table")
    names = column(table, 0)
    button = table.locator("thead th button").first
    button.focus()
    view.keyboard.press("Enter")
    assert column(table, 0) == sorted(names, key=lambda name: (name.isascii(), name.lower()))
    view.keyboard.press("Space")
    assert column(table, 0)[::-1] == sorted(names, key=lambda name: (name.isascii(), name.lower()))


def luminance(colour):
    """Relative luminance by WCAG 2.1 of "rgb(1, 2, 3)"."""
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser, document, scheme):
    context = browser.new_context(color_scheme=scheme)
    view = context.new_page()
    view.goto(document)
    pairs = view.evaluate(
        """() => Array.from(
          document.querySelectorAll("h1, h2, p, dt, dd, td, th button, .note, li"), (element) => {
            let behind = element;
            const back = () => getComputedStyle(behind).backgroundColor;
            while (back() === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
            return [getComputedStyle(element).color, back()];
          })"""
    )
    context.close()
    assert len(set(map(tuple, pairs))) >= 4
    for text, back in set(map(tuple, pairs)):
        light, dark = sorted((luminance(text), luminance(back)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, back)
