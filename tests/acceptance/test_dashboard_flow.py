"""What a person does who has never seen the project: find out why 1,000 events died, and bring them to AquilaX."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from producer import FeedbackEvent, FeedbackProducer
from tests.support.browser import a_page, chromium, shoot
from tests.support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import LocalStack

ORG = "65dd3e835a669e3347654200"
EVENTS = 1000


@pytest.fixture
def stack(stack: LocalStack) -> LocalStack:
    """Everything but an AquilaX."""
    stack.environment |= {"FEEDBACK_CONCURRENCY": "20", "FEEDBACK_REQUEST_TIMEOUT": "10"}
    return stack


@pytest.fixture
def page() -> Iterator[Page]:
    """A browser's page."""
    with chromium() as browser, a_page(browser) as page:
        yield page


def test_a_thousand_dead_events_are_understood_replayed_and_delivered(
    stack: LocalStack, sandbox: SandboxClient, page: Page
) -> None:
    """From Flower alone: why did they die, fix it, look what a replay would do, replay, and see that all arrived."""
    sandbox.behave(unknown_share=1.0)
    stack.start_worker()
    flower = stack.start_flower()
    events = [FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org=ORG, group="g-1") for _ in range(EVENTS)]
    with FeedbackProducer(stack.environment["FEEDBACK_BROKER_URL"], timeout=10) as producer:
        producer.enqueue_many(events)
    eventually(lambda: sandbox.received().requests >= EVENTS, timeout=90, what="AquilaX has refused them all")

    page.goto(flower)
    page.get_by_role("link", name="Overview").click()
    expect(page.locator("#overview-numbers")).to_contain_text(re.compile(r"Dead letters\s+1,000"))

    page.get_by_role("link", name="Dead letters").click()
    expect(page.locator("header.page-header")).to_contain_text(
        "1,000 events, 1 cause: rejected 404: Request ID not found, org 65dd"
    )
    cause = page.get_by_role("list", name="Causes").get_by_role("listitem")
    expect(cause).to_contain_text("404: Request ID not found")
    expect(cause).to_contain_text(f"org {ORG}")

    cause.get_by_role("heading").get_by_role("link").click()
    expect(page.locator("header.page-header")).to_contain_text("1,000 rows")
    page.locator("tbody tr").first.get_by_role("link").first.click()
    expect(page.locator("pre").first).to_contain_text("Request ID not found")
    page.get_by_role("link", name="rejected 404: Request ID not found").click()

    sandbox.fix()
    page.get_by_role("link", name="Replay all 1,000…").click()
    expect(page.locator("header.page-header")).to_contain_text("1,000 rows. Nothing has been changed yet.")
    page.get_by_label("Events per second").fill("500")
    expect(page.locator("[data-estimate]")).to_have_text("about 2 s")
    page.get_by_label("Why").fill("AquilaX knows these ids again")
    shoot(page, "replay-preview")
    page.get_by_role("button", name="Replay 1,000 rows").click()

    progress = page.locator("#replay-progress")
    shoot(page, "replay-progress")
    expect(progress).to_contain_text("1,000 of 1,000 delivered", timeout=90_000)
    expect(progress).to_contain_text("finished")
    assert {name for name, account in sandbox.received_by_request_id().items() if account.delivered} == {
        event.request_id for event in events
    }
    page.get_by_role("link", name="Audit").click()
    expect(page.locator("tbody tr").first).to_contain_text("AquilaX knows these ids again")
    page.get_by_role("link", name="Overview").click()
    expect(page.locator("#overview-numbers")).to_contain_text(re.compile(r"Dead letters\s+0"))
    expect(page.locator("#overview-numbers")).to_contain_text(re.compile(r"Delivered\s+1,000"))
    expect(page.locator("#overview-numbers")).to_contain_text("over ", timeout=10_000)
    shoot(page, "overview")
