"""The report of a real run, opened in Chromium: what a person can do with it, by mouse and by keyboard."""

import shutil
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"
    ),
    pytest.mark.tensorflow,
    pytest.mark.slow,
    # Python closes the browser's pipe when it likes.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SHARED = Path(__file__).parents[3] / "shared/data/trashnet-150"
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory, make_folders, imgtrain):
    """The report of a short run on photographs of waste where they are at hand, else on drawn images."""
    root = tmp_path_factory.mktemp("report")
    if SHARED.is_dir():
        for split, share in (("train", slice(0, 60)), ("test", slice(60, 85))):
            for folder in sorted(path for path in SHARED.iterdir() if path.is_dir()):
                (root / split / folder.name).mkdir(parents=True)
                for file in sorted(folder.iterdir())[share]:
                    (root / split / folder.name / file.name).symlink_to(file)
    else:
        make_folders(
            root, {"train": {"a": 20, "b": 20, "c": 20}, "test": {"a": 12, "b": 12, "c": 12}}, side=64
        )
    (root / "config.yaml").write_text(
        "data: {train: train, test: test, validation_split: 0.2, target_size: [64, 64], on_leak: warn}\n"
        "augmentation: {rotation_range: 20, horizontal_flip: true}\n"
        "model:\n  layers:\n    - Conv2D: {filters: 8, kernel_size: 3, activation: relu}\n"
        "    - MaxPooling2D: 4\n    - Flatten\n"
        "training: {epochs: 2}\n"
    )
    done = imgtrain("train", "config.yaml", "--output", "run", cwd=root)
    assert done.returncode == 0, done.stderr
    assert "report.html" not in done.stderr
    return root / "run/report.html"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture
def open_page(browser, report):
    """Return a function that opens the report; whatever the page complains of or asks for is an error."""
    complaints, requests, contexts = [], [], []

    def open_it(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not complaints
    assert {url for url in requests if not url.startswith("data:")} <= {report.as_uri()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_and_pictures_are_drawn_in_both_themes(open_page, scheme):
    page = open_page(color_scheme=scheme)
    figures = page.locator("figure.drawing svg")
    assert figures.count() >= 5
    for number in range(figures.count()):
        box = figures.nth(number).bounding_box()
        assert box["width"] > 200
        assert box["height"] > 100
    # Text follows the theme: light on dark, or dark on light.
    ink = page.evaluate("getComputedStyle(document.querySelector('figure.drawing svg text')).fill")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink, paper = (sum(map(int, color[4:-1].split(","))) for color in (ink, paper))
    bright, dark = (ink, paper) if scheme == "dark" else (paper, ink)
    assert bright > 600
    assert dark < 120
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert page.locator("#images .pair img").count() > page.locator("#images .pair").count()  # Grad-CAM


def test_the_table_sorts_by_mouse_and_by_keyboard(open_page):
    page = open_page()

    def recalls():
        return [float(text) for text in page.locator(".sortable tbody tr td:nth-child(3)").all_inner_texts()]

    heading = page.get_by_role("button", name="Recall")
    heading.click()
    assert recalls() == sorted(recalls(), reverse=True)
    assert page.locator(".sortable th", has_text="Recall").get_attribute("aria-sort") == "descending"
    heading.focus()
    page.keyboard.press("Enter")
    assert recalls() == sorted(recalls())
    assert page.locator(".sortable th", has_text="Recall").get_attribute("aria-sort") == "ascending"


def test_a_cell_opens_its_images_and_escape_leads_back(open_page):
    page = open_page()
    cell = page.locator("[data-cell]").first
    cell.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    pictures = dialog.locator("img")
    assert pictures.count() >= 1
    assert all(pictures.nth(number).get_attribute("alt") for number in range(pictures.count()))
    truth = page.evaluate("document.activeElement.closest('dialog') !== null")
    assert truth, "the focus is not in the dialog"
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert cell.evaluate("(button) => button === document.activeElement")


def test_it_fits_a_phone(open_page):
    page = open_page(viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_it_prints(open_page):
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert len(page.pdf()) > 20_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_problem(open_page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = open_page(color_scheme=scheme)
    page.locator("[data-cell]").first.click()
    for state in ("dialog", "page"):
        found = axe.Axe().run(page).response["violations"]
        serious = [
            (rule["id"], [node["html"][:200] for node in rule["nodes"][:3]])
            for rule in found
            if rule["impact"] in ("serious", "critical")
        ]
        assert not serious, (state, serious)
        page.keyboard.press("Escape")
