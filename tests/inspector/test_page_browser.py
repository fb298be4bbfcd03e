"""The page in a headless Chromium: what is seen, what the keyboard reaches, and that content never becomes markup."""

import itertools
import re
import shutil

import page_kit
import pytest
from page_kit import HOSTILE, SPOKEN

from agentmem import MemoryStore

pytest.importorskip("uvicorn", reason='pip install "agentmem[inspect]"')
playwright = pytest.importorskip("playwright.sync_api", reason='pip install "agentmem[integrations]"')
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium is installed (Debian: apt-get install chromium)", allow_module_level=True)

PAGES = {
    "search": "#/search?text=who+is+allergic+to+peanuts%3F",
    "namespaces": "#/browse",
    "threads": "#/browse?namespace=users%2Fada",
    "timeline": "#/browse?namespace=users%2Fada&thread=kitchen",
    "record": "#/record?id=bees",
    "health": "#/health",
    "latency": "#/latency",
    "learning": "#/learning",
}
SIZES = {"narrow": (375, 800), "usual": (1280, 900), "wide": (2560, 1200)}


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(filled):
    with page_kit.served(filled) as url:
        yield url


@pytest.fixture
def opened(chromium):
    """Return a function that opens an address in a window of its own; what the browser complains of fails the test."""
    contexts, complaints = [], []

    def open_page(url, hash="", **options):
        context = chromium.new_context(**options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        page.goto(url)
        go(page, hash or "#/search")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


def go(page, hash):
    """Go to a page of the page, and wait until it is there."""
    there = page.evaluate("hash => { location.hash = hash; return location.hash; }", hash)
    playwright.expect(page.locator("main")).to_have_attribute("data-shows", there, timeout=30_000)


def focused(page):
    """Return what has the focus, as a short text."""
    return page.evaluate("(e => `${e.tagName.toLowerCase()} ${e.textContent.trim()}`)(document.activeElement)")


def test_the_token_leaves_the_address(opened, address):
    page = opened(address)
    assert "token" not in page.url
    assert page.evaluate("document.cookie") == ""
    assert playwright.expect(page.get_by_text("read-only")).to_be_visible() is None


def test_hits_have_bars_that_say_in_words_what_they_show(opened, address):
    page = opened(address, PAGES["search"])
    bars = page.locator(".hit").get_by_role("img")
    assert bars.count() == 10
    words = bars.first.get_attribute("aria-label")
    parts = [float(number.replace("−", "-")) for number in re.findall(r"[+−][\d.e+-]+", words)]
    score = float(re.match(r"Score ([\d.]+):", words)[1])
    assert sum(parts) == pytest.approx(score, rel=0.02)
    assert "semantic" in words
    keys = page.get_by_label("Heads", exact=True).get_by_role("button")
    assert keys.count() == len(set(re.findall(r"data-head=\"(\w+)\"", page.content())))
    assert "memory-heads" in page.locator(".reason").text_content()
    assert re.search(r"cosine 0\.\d\d, relevance 0\.\d\d", page.locator(".hit .sources").first.text_content())


def test_a_bar_is_as_long_as_its_part(opened, address):
    page = opened(address, PAGES["search"])
    lengths = page.locator(".hit .bar:not(.thin)").first.evaluate(
        "bar => [...bar.querySelectorAll('.segment')].map(e => [e.title, e.getBoundingClientRect().width])"
    )
    sizes = [(abs(float(title.split()[1].replace("−", "-"))), width) for title, width in lengths]
    (most, longest), *others = sizes
    for size, width in others:
        assert width / longest == pytest.approx(size / most, abs=0.02)


def test_a_key_brings_out_its_head(opened, address):
    page = opened(address, PAGES["search"])
    key = page.get_by_label("Heads", exact=True).get_by_role("button", name="semantic")
    key.click()
    assert key.get_attribute("aria-pressed") == "true"
    assert page.locator(".segment[data-head=semantic].dim").count() == 0
    assert page.locator(".segment[data-head=importance].dim").count() > 0
    key.click()
    assert page.locator(".segment.dim").count() == 0


def test_a_search_by_keyboard_alone(opened, address):
    page = opened(address)
    assert page.evaluate("document.activeElement.name") == "text"
    page.keyboard.type("who keeps bees?")
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("heading", level=2, name=re.compile(r"\d+ hits? in"))).to_be_focused()
    assert "text=who+keeps+bees" in page.url
    assert "Ada keeps bees" in page.locator(".hit").first.text_content()
    assert "hits in" in page.get_by_role("status").text_content()


def test_mechanism_filter_and_namespace_are_chosen_on_the_form(opened, address):
    page = opened(address)
    page.get_by_label("Search for").fill("bees")
    page.get_by_label("Mechanism").select_option("lexical")
    page.get_by_label("Namespace", exact=True).fill("users")
    page.get_by_text("Filter", exact=True).first.click()
    page.get_by_role("textbox", name="Filter").fill('{"topic": "bees"}')
    page.get_by_role("button", name="Search").click()
    playwright.expect(page.locator(".hit")).to_have_count(1)
    assert "lexical" in page.locator(".reason").text_content()
    assert page.get_by_role("textbox", name="Filter").input_value() == '{"topic": "bees"}'


def test_a_search_that_cannot_be_says_why_and_keeps_the_form(opened, address, chromium):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(address)
    go(page, "#/search?text=bees&filter=%7B")
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_be_focused()
    assert "not JSON" in alert.text_content()
    assert page.get_by_label("Search for").input_value() == "bees"
    context.close()


def test_further_hits_are_a_link(opened, address):
    page = opened(address, "#/search?text=kettle")
    page.get_by_role("link", name="Hits from 11").click()
    playwright.expect(page.locator(".hit .rank").first).to_have_text(re.compile("#11"))
    assert page.get_by_role("link", name="Hits 1 to 10").count() == 1


def test_a_read_only_page_has_no_verdicts_and_says_why(opened, address):
    page = opened(address, PAGES["search"])
    assert page.get_by_role("button", name="Accept").count() == 0
    assert "--write" in page.get_by_role("main").text_content()


def test_feedback_is_given_by_keyboard_and_kept(opened, copy):
    with page_kit.served(copy, writable=True) as url:
        page = opened(url, "#/search?text=who+keeps+bees%3F")
        accept, reject = (page.get_by_role("button", name=f"{word} hit") for word in ("Accept", "Reject"))
        accept.first.focus()
        page.keyboard.press("Space")
        assert accept.first.get_attribute("aria-pressed") == "true"
        reject.nth(1).press("Enter")
        reject.nth(2).press("Enter")
        reject.nth(2).press("Enter")
        feedback = page.get_by_role("region", name="Feedback")
        assert "1 accepted, 1 rejected" in feedback.text_content()
        feedback.get_by_role("button", name="Save feedback").press("Enter")
        playwright.expect(page.get_by_role("status")).to_have_text("Feedback saved")
        assert feedback.is_hidden()
        assert page.evaluate("document.activeElement.id") == "results"
    with MemoryStore(copy, read_only=True) as store:
        judged = store.feedback_log(1)[0]
    assert (judged.query, judged.accepted, len(judged.rejected)) == ("who keeps bees?", ("bees",), 1)
    assert len(judged.shown) == 10


def test_the_tree_opens_and_leads_to_threads_and_turns(opened, address):
    page = opened(address, PAGES["namespaces"])
    branch = page.get_by_role("button", name="users/")
    assert branch.get_attribute("aria-expanded") == "false"
    branch.press("Enter")
    page.get_by_role("link", name=re.compile("^ada")).press("Enter")
    playwright.expect(page.get_by_role("heading", name="Threads of users/ada")).to_be_focused()
    page.get_by_role("link", name="kitchen").press("Enter")
    playwright.expect(page.locator(".turn")).to_have_count(50)
    assert page.locator(".mark").first.text_content().startswith("Sitting 0")
    assert "Sitting 1" in page.locator(".mark").nth(1).text_content()
    assert "4 days later" in page.locator(".gap").text_content()
    page.get_by_role("button", name="More records").press("Enter")
    playwright.expect(page.locator(".turn")).to_have_count(SPOKEN)
    assert "turn-50" in focused(page)
    assert page.get_by_role("button", name="More records").is_hidden()
    times = page.locator(".turn time").evaluate_all("all => all.map(e => e.dateTime)")
    assert times == sorted(times)


def test_a_hit_leads_to_its_place_in_the_thread(opened, address):
    page = opened(address, PAGES["search"])
    page.locator(".hit", has_text="peanuts").get_by_role("link", name="Thread").first.click()
    playwright.expect(page.locator(".turn").first).to_contain_text("allergic to peanuts")
    page.get_by_role("link", name="Earlier records").click()
    playwright.expect(page.locator(".turn").first).to_contain_text("Turn 6 ")


def test_a_record_leads_to_what_it_is_linked_with(opened, address):
    page = opened(address, "#/record?id=note")
    page.get_by_role("link", name="bees").click()
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text("Record bees")
    assert str(2**70) in page.get_by_role("main").text_content()
    assert "accepted" in page.get_by_role("table").text_content()


def test_the_check_shows_its_progress_and_what_it_found(opened, address):
    page = opened(address, PAGES["health"])
    assert "Not checked" in page.get_by_role("main").text_content()
    page.get_by_role("button", name="Check everything").press("Enter")
    verdict = page.get_by_role("main").get_by_text("All is well")
    playwright.expect(verdict).to_be_visible()
    assert page.get_by_role("button", name="Check everything").is_enabled()
    assert "agentmem check" in page.get_by_role("main").text_content()
    go(page, PAGES["latency"])
    go(page, PAGES["health"])
    playwright.expect(verdict).to_be_visible()


def test_latencies_have_percentiles_for_each_stage(opened, address):
    page = opened(address, PAGES["search"])
    go(page, PAGES["latency"])
    stages = page.get_by_role("table", name="Stages of a search")
    assert {"candidates", "rerank", "embed"} <= set(stages.get_by_role("rowheader").all_text_contents())
    assert re.search(
        r"memory-heads\d+[\d.]+ (µs|ms|s)", page.get_by_role("table", name="Whole searches").text_content()
    )


def test_weights_and_feedback_are_listed(opened, address):
    page = opened(address, PAGES["learning"])
    assert "kept aside" in page.get_by_role("main").text_content()
    assert "who keeps bees?" in page.get_by_role("table").text_content()


@pytest.mark.parametrize(
    "hash",
    [
        "#/search?text=honey",
        "#/browse",
        "#/browse?" + "namespace={0}",
        "#/browse?" + "namespace={0}&thread={0}",
        "#/record?" + "id={0}",
        "#/learning",
    ],
)
def test_what_a_store_holds_is_shown_as_text(opened, address, hash):
    page = opened(address)
    quoted = page.evaluate("text => encodeURIComponent(text)", HOSTILE)
    go(page, hash.format(quoted))
    playwright.expect(page.get_by_role("main")).to_contain_text("<img src=x onerror=")
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("window.pwned") is None
    assert page.title().endswith("· agentmem")


def test_an_address_with_markup_or_nonsense_in_it_does_no_harm(opened, address):
    page = opened(address)
    for hash in ("#/<img src=x onerror=window.pwned=1>", "#/constructor", "#/search?%", "#/__proto__?a=b"):
        go(page, hash)
        playwright.expect(page.get_by_role("heading", level=1)).to_have_text("Search")
    assert page.evaluate("window.pwned") is None


def test_no_string_can_become_markup_even_by_mistake(chromium, address):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(address)
    refused = page.evaluate("(() => { try { document.body.innerHTML = '<b>x</b>'; } catch (e) { return e.name; } })()")
    assert refused == "TypeError"
    context.close()


def test_the_first_tab_skips_to_the_content(opened, address):
    page = opened(address, PAGES["health"])
    page.evaluate("document.body.tabIndex = -1; document.body.focus()")
    page.keyboard.press("Tab")
    assert focused(page) == "a Skip to the content"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    hash = page.evaluate("location.hash")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.evaluate("location.hash") == hash


@pytest.mark.parametrize("name", sorted(PAGES))
def test_tab_reaches_everything_in_order_sees_where_it_is_and_gets_out_again(opened, address, name):
    page = opened(address, PAGES[name])
    expected = page.evaluate(
        """() => [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
                 .filter(e => e.checkVisibility() && !e.disabled).length"""
    )
    page.evaluate("document.body.tabIndex = -1; document.body.focus()")
    seen = []
    for _ in range(expected + 20):
        page.keyboard.press("Tab")
        state = page.evaluate(
            """() => { const e = document.activeElement;
                       e.mark ??= Math.random();
                       const name = e.getAttribute('aria-label') ?? e.labels?.[0]?.textContent ?? e.textContent;
                       return [e === document.body, e.mark, getComputedStyle(e).outlineStyle, name.trim() !== '']; }"""
        )
        if state[0] or state[1] in [mark for _, mark, *_ in seen]:
            break
        seen.append(state)
    assert len(seen) == expected, "something cannot be reached, or holds the focus"
    assert all(outline == "solid" for _, _, outline, _ in seen)
    assert all(named for *_, named in seen)


def test_each_page_has_one_first_heading_a_title_and_names_for_all_it_asks(opened, address):
    page = opened(address)
    for hash in PAGES.values():
        go(page, hash)
        heading = page.get_by_role("heading", level=1)
        assert heading.count() == 1
        assert page.title() == f"{heading.text_content()} · agentmem"
        levels = page.locator("h1, h2, h3").evaluate_all("all => all.map(e => Number(e.tagName[1]))")
        assert all(below - above <= 1 for above, below in itertools.pairwise(levels))
        asked = page.locator("main :is(input, select, textarea)")
        assert asked.evaluate_all("all => all.every(e => e.labels.length === 1)")
        ids = page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
        assert len(ids) == len(set(ids))
        assert page.get_by_role("banner").count() == page.get_by_role("main").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_reader_s_scheme(opened, address, scheme):
    page = opened(address, color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", ground))) / 3
    assert brightness > 200 if scheme == "light" else brightness < 60


def test_motion_stops_where_the_reader_wants_none(opened, address):
    page = opened(address, reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.getElementById('busy')).animationName") == "none"


@pytest.mark.parametrize("size", sorted(SIZES))
def test_nothing_runs_off_the_screen(opened, address, size):
    width, height = SIZES[size]
    page = opened(address, viewport={"width": width, "height": height})
    for hash in PAGES.values():
        go(page, hash)
        page.locator("details").evaluate_all("all => all.forEach(e => { e.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, hash


@pytest.mark.parametrize("width", [640, 1280])
def test_text_twice_as_large_loses_nothing(opened, address, width):
    page = opened(address, viewport={"width": width, "height": 900})
    for hash in PAGES.values():
        page.evaluate("document.documentElement.style.fontSize = ''")
        go(page, hash)
        before = page.get_by_role("main").inner_text()
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert page.get_by_role("main").inner_text().split() == before.split()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, hash
        clipped = page.evaluate(
            """() => [...document.querySelectorAll('main *:not(.bar, .hidden, .scroll, pre, select, input)')]
                     .filter(e => getComputedStyle(e).overflow !== 'visible' && e.checkVisibility()
                                  && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1))
                     .map(e => e.className)"""
        )
        assert clipped == [], hash


def test_a_server_that_went_is_told(chromium, copy):
    context = chromium.new_context()
    with page_kit.served(copy) as url:
        page = context.new_page()
        page.goto(url)
        go(page, PAGES["health"])
    page.evaluate("location.hash = '#/learning'")
    playwright.expect(page.get_by_role("alert")).to_contain_text("still running")
    context.close()


def test_nothing_is_asked_of_another_machine(opened, address):
    page = opened(address)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    for hash in PAGES.values():
        go(page, hash)
    home = page.evaluate("location.origin")
    assert asked
    assert all(url.startswith(home) for url in asked)
