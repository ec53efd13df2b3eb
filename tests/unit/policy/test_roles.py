from __future__ import annotations

import pytest

from worker.policy.roles import ActRule


@pytest.mark.parametrize(
    ("rule", "name", "groups", "may"),
    [
        ("ann", "ann", (), True),
        ("ann", "Ann", (), False),
        ("ann", "anna", (), False),
        ("ann", "xann", (), False),
        ("ann, bob", "bob", (), True),
        ("*@example.com", "ann@example.com", (), True),
        ("*@example.com", "ann@example.com.evil", (), False),
        ("*@example.com", "ann@exampleXcom", (), False),
        ("a?n", "ann", (), False),
        ("[ab]nn", "ann", (), False),
        (".*", "ann", (), False),
        ("*", "ann", (), True),
        ("*", None, (), True),
        ("ann", None, (), False),
        ("group:ops", "ops", (), False),
        ("group:ops", "group:ops", (), False),
        ("group:ops", "eve", ("dev", "ops"), True),
        ("group:ops", "eve", ("ops-readers",), False),
        ("group:ops-*", "eve", ("ops-eu",), True),
        ("ops", "eve", ("ops",), False),
    ],
)
def test_the_rule_names_who_may_act(rule: str, name: str | None, groups: tuple[str, ...], may: bool) -> None:
    """Whole names, of users and of groups apart; `*` is all that has a meaning of its own."""
    assert ActRule.read(rule).allows(name, groups) is may


@pytest.mark.parametrize("text", ["", " ", ",", "ann,,bob", "ann bob", "group:", "ann\tbob", "ann\0"])
def test_a_rule_that_can_not_be_read_is_refused(text: str) -> None:
    """A blank entry may have been a variable that was not set; a name with a blank in it is two."""
    with pytest.raises(ValueError, match="separated by commas"):
        ActRule.read(text)
