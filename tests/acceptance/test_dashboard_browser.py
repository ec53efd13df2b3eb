"""The dashboard in a real Chromium: hostile answers, an attacker, a phone, the dark, the keyboard, 100,000 rows."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from producer.message import to_message
from tests.support.browser import DESKTOP, PHONE, a_page, chromium, shoot
from tests.support.dead_letter_records import REQUEST_ID, a_record, add, an_event, rows_of
from tests.support.dead_letters import fill
from tests.support.flower import ServedFlower, served_flower
from tests.support.history import fill_history
from tests.support.places import places_of
from tests.support.processes import ROOT
from tests.support.waiting import ENVELOPE, REFUSAL, a_retry, wait
from worker.database.audit_log import actions
from worker.database.models import State
from worker.dead_letters.replays.queries import plans
from worker.policy.attempt import Attempt
from worker.policy.classification import Response
from worker.policy.envelope import Envelope, WaitReason
from worker.policy.result import ResultKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore

HOSTILE = (
    "<script>document.title='stolen'</script><img src=x onerror=\"document.title='stolen'\">"
    "</code></pre></textarea><svg onload=\"document.title='stolen'\"> \u202eevil"
)
AXE = files("axe_playwright_python") / "axe.min.js"

WIDE = {"width": 1280, "height": 1600}
WIDEST = 700
"""Characters without a space: AquilaX, or a client, may send them."""

PAGES = (
    "/feedback",
    "/feedback/history?range=week",
    "/feedback/dead-letters",
    "/feedback/dead-letters/rows?state=any",
    "/feedback/dead-letters/rows?since=yesterday",
    "/feedback/dead-letters/1",
    "/feedback/causes/732a1c19a072",
    "/feedback/dead-letters/replay",
    "/feedback/dead-letters/discard",
    "/feedback/replays",
    "/feedback/audit",
    "/feedback/waiting",
    "/feedback/waiting?cause=weather",
    "/feedback/waiting/dead-letter?all=1",
    "/feedback/workers",
    "/feedback/workers/grow?name=w",
    "/feedback/trace?request_id=77e81bbc",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium; each test has a context of its own in it."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def flower(sqlite_store: DeadLetterStore, sqlite_url: str, valkey: RedisServer) -> Iterator[ServedFlower]:  # noqa: ARG001 - so that the table is there
    """Flower on loopback, without a login."""
    with served_flower(broker_url=valkey.url, database_url=sqlite_url) as flower:
        yield flower


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page."""
    with a_page(browser) as page:
        yield page


def let_wait(server: RedisServer, text: str) -> None:
    """Let a message wait whose org and last response are this text, as far as each goes."""
    with places_of(server) as places:
        wait(places, a_retry(ENVELOPE.tried(replace(REFUSAL, text=text)), org=text[:120]))


def test_a_hostile_answer_is_text(
    flower: ServedFlower, sqlite_store: DeadLetterStore, page: Page, valkey: RedisServer
) -> None:
    """Nothing in it runs, on any page, and nothing of it becomes a part of the page."""
    let_wait(valkey, HOSTILE)
    add(sqlite_store, a_record(an_event(org=HOSTILE[:120], group=HOSTILE[:120]), response_body=HOSTILE))
    page.goto(f"{flower.url}/feedback/dead-letters/1")
    expect(page.locator("pre").first).to_contain_text("<script>document.title='stolen'</script><img src=x")
    for path in PAGES:
        page.goto(f"{flower.url}{path}")
        assert page.title() != "stolen"
        assert page.locator("main img, main svg[onload], main script").count() == 0


class _Attacker(BaseHTTPRequestHandler):
    """A page on another port of this machine that sends forms to Flower as soon as it is opened."""

    target = ""

    def do_GET(self) -> None:
        """Answer with the page."""
        forms = "".join(
            f'<iframe name="f{number}"></iframe><form method="post" target="f{number}" action="{self.target}{path}" '
            f'enctype="{kind}"><input name="comment" value="so"><input name="expected" value="1">'
            '<input name="_xsrf" value="guess"></form>'
            for number, (path, kind) in enumerate(_ATTACKS)
        )
        script = f"""
            document.querySelectorAll("form").forEach(form => form.submit());
            const target = "{self.target}";
            const body = JSON.stringify({{why: "so"}});
            Promise.allSettled([
                fetch(target + "/api/feedback/hold", {{method: "POST", credentials: "include", mode: "no-cors", body}}),
                fetch(target + "/api/feedback/hold", {{method: "POST", credentials: "include", body,
                    headers: {{"Content-Type": "application/json", "X-Requested-With": "x"}}}}),
                fetch(target + "/api/feedback/dead-letters", {{credentials: "include"}}).then(answer => answer.text())
                    .then(() => {{ document.body.dataset.read = "yes"; }}),
            ]).then(() => {{ document.body.dataset.done = "yes"; }});
        """
        content = f"<!doctype html><title>kittens</title><body>{forms}<script>{script}</script>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


_FORM = "application/x-www-form-urlencoded"
_ATTACKS = (
    ("/feedback/hold", _FORM),
    ("/feedback/dead-letters/replay", _FORM),
    ("/feedback/dead-letters/discard", "multipart/form-data"),
    ("/feedback/dead-letters/discard", "text/plain"),
    ("/api/feedback/hold", "text/plain"),
)


@contextmanager
def attacker(target: str) -> Iterator[str]:
    """Serve the attacker's page on another port, and return its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Attacker", (_Attacker,), {"target": target}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("login", [None, "ann:secret"], ids=["no login", "password"])
def test_an_attackers_page_changes_nothing_and_reads_nothing(
    browser: Browser, sqlite_store: DeadLetterStore, sqlite_url: str, valkey: RedisServer, login: str | None
) -> None:
    """On another port of this machine, which shares our cookies: forms and scripts are refused, in every mode."""
    add(sqlite_store, a_record())
    options: dict[str, Any] = {"basic_auth": [login]} if login else {}
    context = {"http_credentials": dict(zip(("username", "password"), login.split(":"), strict=True))} if login else {}
    with (
        served_flower(broker_url=valkey.url, database_url=sqlite_url, **options) as flower,
        attacker(flower.url) as evil,
        a_page(browser, hostile=True, **context) as page,
    ):
        page.goto(f"{flower.url}/feedback")
        expect(page.get_by_role("button", name="Hold")).to_be_visible()
        statuses: list[int] = []
        page.on("response", lambda answer: statuses.append(answer.status) if answer.request.method == "POST" else None)
        page.goto(evil)
        expect(page.locator("body[data-done]")).to_be_attached()
        page.wait_for_function(f"document.querySelectorAll('iframe').length === {len(_ATTACKS)}")
        page.wait_for_load_state("networkidle")
        assert not page.evaluate("document.body.dataset.read || ''")
        assert statuses
        assert set(statuses) <= {401, 403}
    with valkey.client() as client:
        assert not client.exists("feedback:hold")
    assert not actions(sqlite_store.engine)
    assert not plans(sqlite_store.engine)
    assert {row.state for row in rows_of(sqlite_store)} == {State.DEAD}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways(
    flower: ServedFlower, sqlite_store: DeadLetterStore, browser: Browser, valkey: RedisServer, theme: str
) -> None:
    """Whatever stands in a row; and what is to be pressed is as large as a finger needs."""
    let_wait(valkey, "o" * WIDEST)
    add(sqlite_store, a_record(an_event(org="o" * 120, group="g" * 120), response_body="x" * WIDEST))
    with a_page(browser, viewport=PHONE, color_scheme=theme, is_mobile=True, has_touch=True) as page:
        for path in PAGES:
            page.goto(f"{flower.url}{path}")
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        page.goto(f"{flower.url}/feedback/dead-letters")
        shoot(page, f"phone-{theme}")
        page.get_by_role("button", name="Toggle navigation").click()
        page.get_by_role("link", name="Overview").click()
        expect(page.locator("#overview-numbers")).to_be_visible()


def test_in_the_dark_it_is_dark_and_can_be_read(
    flower: ServedFlower, sqlite_store: DeadLetterStore, browser: Browser, valkey: RedisServer
) -> None:
    """Flower's theme decides; words keep the contrast that WCAG asks for, 4.5 to 1, in both themes."""
    let_wait(valkey, "Downstream service unavailable")
    add(sqlite_store, a_record())
    for theme in ("light", "dark"):
        with a_page(browser, color_scheme=theme) as page:
            for path in PAGES:
                page.goto(f"{flower.url}{path}")
                assert page.locator("html").get_attribute("data-bs-theme") == theme
                assert page.evaluate(_POOR_CONTRAST) == [], (theme, path)


_POOR_CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const rgba = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data]; };
    const luminance = ([r, g, b]) => { const l = [r, g, b].map(v => { v /= 255;
        return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2]; };
    const behind = element => { for (let e = element; e; e = e.parentElement) {
        const colour = rgba(getComputedStyle(e).backgroundColor); if (colour[3] > 250) { return colour; } }
        return [255, 255, 255]; };
    const poor = [];
    document.querySelectorAll("main .feedback-page *").forEach(element => {
        const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || element.disabled || !element.checkVisibility() || element.closest("svg")) { return; }
        const [a, b] = [luminance(rgba(getComputedStyle(element).color)), luminance(behind(element))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) { poor.push(`${contrast.toFixed(2)} ${element.outerHTML.slice(0, 200)}`); }
    });
    return poor;
}"""


def test_the_charts_lead_to_what_is_behind_them(
    flower: ServedFlower, sqlite_store: DeadLetterStore, browser: Browser, valkey: RedisServer
) -> None:
    """One stop of the Tab key each, arrow keys within; read in both themes, on a phone, as a table, without colours."""
    add(sqlite_store, a_record())
    with valkey.client() as client:
        fill_history(client, minutes=6 * 60)
    for theme, viewport in (("light", PHONE), ("dark", DESKTOP), ("light", WIDE)):
        with a_page(browser, color_scheme=theme, viewport=viewport) as page:
            page.goto(f"{flower.url}/feedback?range=hour")
            expect(page.locator("#overview-history svg[data-chart]")).to_have_count(6)
            expect(page.get_by_role("alert").filter(has_text="AquilaX failed")).to_contain_text(
                "within the last 5 minutes"
            )
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (theme, viewport)
            assert page.evaluate(_POOR_CONTRAST) == [], (theme, viewport)
    with a_page(browser, viewport=WIDE) as page:
        page.goto(f"{flower.url}/feedback?range=hour")
        page.locator("#history").scroll_into_view_if_needed()
        if os.environ.get("FEEDBACK_SCREENSHOTS"):
            page.locator("#history").screenshot(path=ROOT / "docs" / "images" / "history.png")
        dead = page.locator("figure", has_text="Dead letters").locator("svg[data-chart]")
        assert dead.locator("a[tabindex='0']").count() == 1
        dead.locator("a[tabindex='0']").focus()
        page.keyboard.press("Home")
        assert page.evaluate("document.activeElement.textContent").count("rejected") == 1
        page.keyboard.press("ArrowRight")
        behind = page.evaluate("document.activeElement.getAttribute('href')")
        page.keyboard.press("Enter")
        page.wait_for_url("**/feedback/dead-letters/rows?**")
        assert behind in page.url
        assert "state=any&since=" in page.url
        page.goto(f"{flower.url}/feedback?range=day")
        page.locator("figure", has_text="latency").locator("svg[data-chart] a").last.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/feedback?range=hour&until=*")
        page.get_by_role("link", name="The same as a table").click()
        page.wait_for_url("**/feedback/history?**")
        expect(page.get_by_role("columnheader", name="p95")).to_be_visible()


def test_everything_can_be_done_with_the_keyboard(
    flower: ServedFlower, sqlite_store: DeadLetterStore, page: Page
) -> None:
    """Open the rows, tick all, go to the preview, give a reason, and replay; each stop can be seen."""
    for _ in range(3):
        add(sqlite_store, a_record())
    page.goto(f"{flower.url}/feedback/dead-letters/rows")
    _tab_to(page, "Select all rows of this page")
    page.keyboard.press("Space")
    expect(page.locator("[data-selected]")).to_have_text("3 selected")
    _tab_to(page, "Replay selected…")
    page.keyboard.press("Enter")
    expect(page.locator("header.page-header")).to_contain_text("3 rows")
    _tab_to(page, "Why")
    page.keyboard.type("fixed")
    page.keyboard.press("Enter")
    expect(page.locator("#replay-progress")).to_contain_text("0 of 3 delivered")
    _tab_to(page, "Cancel")
    page.keyboard.press("Enter")
    expect(page.locator("#replay-progress")).to_contain_text("cancelled")
    assert plans(sqlite_store.engine)[0].comment == "fixed"


def test_a_new_cause_is_found_and_acknowledged_with_the_keyboard(
    flower: ServedFlower, sqlite_store: DeadLetterStore, page: Page
) -> None:
    """From the list that has it alone, by its page, and back: it is new no more, and says whose it is."""
    add(sqlite_store, a_record(failed_at=datetime.now(UTC)))
    add(sqlite_store, a_record(response_body="Long ago"))
    page.goto(f"{flower.url}/feedback/dead-letters")
    _tab_to(page, "New since yesterday 1")
    page.keyboard.press("Enter")
    expect(page.locator(".feedback-causes")).not_to_contain_text("Long ago")
    _tab_to(page, "Triage rejected 404: Request ID not found")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Cause 732a1c19a072")
    _tab_to(page, "Owner")
    page.keyboard.type("ann@example.com")
    page.keyboard.press("Enter")
    expect(page.locator(".detail-list")).to_contain_text("ann@example.com")
    _tab_to(page, "Acknowledge")
    page.keyboard.press("Enter")
    expect(page.locator(".page-description .badge")).to_have_text(["new", "acknowledged"])
    shoot(page, "cause")
    page.goto(f"{flower.url}/feedback/dead-letters?show=unacknowledged")
    expect(page.locator(".feedback-causes")).not_to_contain_text("Request ID not found")


def _tab_to(page: Page, name: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e);
                const label = e.labels && e.labels.length ? e.labels[0].textContent : e.textContent;
                const shown = s.outlineStyle !== "none" || s.boxShadow !== "none";
                return [e.getAttribute("aria-label") || label, shown]; }"""
        )
        if found[0].strip() == name:
            assert found[1], f"{name} does not show that it has the focus"
            return
    pytest.fail(f"no Tab leads to {name}")


def test_the_overview_moves_by_itself_and_leaves_alone_who_types(
    flower: ServedFlower, page: Page, valkey: RedisServer
) -> None:
    """A hold appears without a reload; what is half typed stays."""
    page.goto(f"{flower.url}/feedback")
    page.get_by_label("Why").fill("half a reas")
    with valkey.client() as client:
        client.hset("feedback:hold", mapping={"kind": "operator", "comment": "elsewhere", "actor": "ann", "since": 0})
    expect(page.locator("#overview-hold")).to_contain_text("Nothing is being delivered: elsewhere", timeout=10_000)
    expect(page.get_by_label("Why")).to_have_value("half a reas")


def test_what_can_be_pressed_follows_the_hold(flower: ServedFlower, page: Page, valkey: RedisServer) -> None:
    """Hold while nothing is held, then resume, without a reload; a hold without a reason does not leave the page."""
    page.goto(f"{flower.url}/feedback")
    page.get_by_role("button", name="Hold").click()
    assert page.evaluate("document.querySelector('#comment').validity.valueMissing")
    with valkey.client() as client:
        client.hset("feedback:hold", mapping={"kind": "operator", "comment": "so", "actor": "ann", "since": 0})
        page.locator("h1").click()  # the button had the focus
        expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=10_000)
        expect(page.get_by_role("button", name="Hold")).to_have_count(0)
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("button", name="Hold")).to_be_visible()
        assert not client.exists("feedback:hold")


def test_numbers_are_never_broken(flower: ServedFlower, sqlite_store: DeadLetterStore, browser: Browser) -> None:
    """On a phone neither, in a preview or in the list of replays: 80 and 0 are not 800."""
    fill(sqlite_store, 10_000, last_at=datetime.now(UTC))
    flower.session().send("/feedback/dead-letters/replay", http_status="404", rate="1", comment="fixed")
    for viewport in (DESKTOP, PHONE):
        with a_page(browser, viewport=viewport) as page:
            for path in ("/feedback/dead-letters/replay", "/feedback/dead-letters/discard", "/feedback/replays"):
                page.goto(f"{flower.url}{path}")
                expect(page.locator("td.text-end").first).to_contain_text(",")
                assert set(page.locator("td.text-end").evaluate_all(_LINES)) == {1}, (viewport, path)


_LINES = """cells => cells.map(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getClientRects().length;
})"""


def test_it_works_without_javascript(flower: ServedFlower, sqlite_store: DeadLetterStore, browser: Browser) -> None:
    """Nothing moves by itself then, and everything can be done."""
    add(sqlite_store, a_record())
    with a_page(browser, java_script_enabled=False) as page:
        page.goto(f"{flower.url}/feedback/dead-letters/rows")
        page.get_by_label("Select row 1").check()
        page.get_by_role("button", name="Discard selected…").click()
        page.get_by_label("Why").fill("left us")
        page.get_by_role("button", name="Discard 1 row").click()
        expect(page.locator("#discarding")).to_contain_text("of 1 discarded")


def test_a_hundred_thousand_rows(flower: ServedFlower, sqlite_store: DeadLetterStore, page: Page) -> None:
    """Causes, the first page and the hundredth, a preview: none makes anybody wait."""
    fill(sqlite_store, 100_000, last_at=datetime.now(UTC))
    slowest = 0.0
    page.goto(f"{flower.url}/feedback/dead-letters")
    expect(page.locator("header.page-header")).to_contain_text("events, 5 causes")
    shoot(page, "dead-letters")
    page.get_by_role("link", name="Rows", exact=True).click()
    shown = set[str]()
    for _ in range(6):
        shown |= set(page.locator("tbody tr td:nth-child(2)").all_text_contents())
        began = time.monotonic()
        page.get_by_role("link", name="Next").click()
        page.wait_for_load_state()
        slowest = max(slowest, time.monotonic() - began)
    assert len(shown) == 6 * 50
    assert slowest < 5
    page.get_by_role("link", name="Replay all").click()
    expect(page.locator("header.page-header")).to_contain_text("Nothing has been changed yet")


def test_what_became_of_a_press_is_found_by_its_first_characters(
    flower: ServedFlower, sqlite_store: DeadLetterStore, valkey: RedisServer, page: Page, browser: Browser
) -> None:
    """In the field of the bar, by keyboard alone; the request_id can be copied, and on a phone it fits."""
    now = datetime.now(UTC)
    event = an_event(occurred_at=now - timedelta(minutes=9))
    attempts = tuple(
        Attempt.of(
            Response(status=503, text="Downstream service unavailable", took=timedelta(milliseconds=41 + 900 * number)),
            at=now - timedelta(minutes=8 - 2 * number),
            worker="worker@chat-7",
            then=ResultKind.RETRY,
        )
        for number in range(3)
    )
    envelope = Envelope(enqueued_at=event.occurred_at, message_id="m", attempts=3, history=attempts)
    message = to_message(event, envelope=envelope.waiting(WaitReason.RETRY).to_header())
    with valkey.client() as client:
        client.zadd("feedback:delayed", {message: round((now + timedelta(minutes=4)).timestamp() * 1000)})
    add(sqlite_store, a_record(event, first_enqueued_at=event.occurred_at, failed_at=now - timedelta(minutes=1)))

    page.goto(f"{flower.url}/feedback")
    _tab_to(page, "What became of the press with this request id, or its first 8 characters?")
    page.keyboard.type(event.request_id[:8])
    page.keyboard.press("Enter")

    expect(page.locator(".feedback-statements")).to_contain_text("waits until")
    expect(page.locator(".feedback-timeline > li")).to_have_count(7)
    shoot(page, "trace")
    _tab_to(page, "Copy the request id")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copy the request id")).to_have_text("Copied")
    with a_page(browser, viewport=PHONE) as phone:
        phone.goto(page.url)
        assert phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_axe_finds_nothing_serious(
    flower: ServedFlower, sqlite_store: DeadLetterStore, valkey: RedisServer, browser: Browser
) -> None:
    """On no page: what keeps someone from reading or using it. The contrast of the dark theme has a test of its own."""
    add(sqlite_store, a_record())
    with valkey.client() as client:
        client.zadd("feedback:delayed", {to_message(an_event(request_id=REQUEST_ID)): 4_102_444_800_000})
    serious = []
    with a_page(browser) as page:
        for path in (*PAGES, f"/feedback/trace?request_id={REQUEST_ID}"):
            page.goto(f"{flower.url}{path}")
            serious += [f"{path} {found}" for found in _serious(page)]
    assert not serious, "\n".join(serious)


def _serious(page: Page) -> list[str]:
    """What axe-core calls serious or critical, with where it is."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)")
    return [
        f"{each['id']}: {node['html'][:120]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]
