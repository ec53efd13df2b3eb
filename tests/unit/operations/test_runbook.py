"""What a cause says to do: a sentence, and a section of the runbook that is there."""

from __future__ import annotations

import re

import pytest

from tests.support.processes import ROOT
from worker.operations.runbook import advice_of, runbook_of
from worker.policy.fingerprint import fingerprint_of, head_of
from worker.policy.retry import Reason

HEADINGS = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
ANCHORS = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in HEADINGS}


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("status", [None, 404])
def test_every_cause_leads_to_a_section_of_the_runbook(reason: Reason, status: int | None) -> None:
    """And what its reason and status were can be told from its summary."""
    summary = fingerprint_of(reason, status, "anything: 404").summary
    page, _, section = runbook_of(summary).partition("#")
    assert head_of(summary) == (reason, status)
    assert (page, section in ANCHORS) == ("docs/operations.md", True)
    assert advice_of(summary).endswith(".")


def test_a_summary_of_another_release_leads_there_too() -> None:
    """Its reason may be one that is not known here."""
    assert head_of("unheard-of 7: x") == (None, None)
    assert advice_of("unheard-of 7: x") == "See docs/operations.md#dead-letters."
