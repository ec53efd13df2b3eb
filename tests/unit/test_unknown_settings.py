from __future__ import annotations

import pytest

from worker.unknown_settings import unknown_settings


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("FEEDBACK_CONCURENCY", "rename or unset it: it is FEEDBACK_CONCURRENCY that is meant, perhaps"),
        ("AQUILAX_URL", "rename or unset it: it is AQUILAX_BASE_URL that is meant, perhaps"),
        ("FEEDBACK_PORT", "rename or unset it: docs/settings.md has all there are"),
    ],
)
def test_a_variable_that_is_no_setting_is_named_with_the_nearest(name: str, advice: str) -> None:
    """It changes nothing, and its operator believes that it does."""
    assert dict(unknown_settings({name: "9"})).keys() == {name}
    if "perhaps" in advice:
        assert dict(unknown_settings({name: "9"}))[name] == advice


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FEEDBACK_CONCURRENCY", "9"),
        ("FEEDBACK_IMAGE_TAG", "2"),
        ("CELERY_BROKER_URL", "redis://127.0.0.1/0"),
        ("FEEDBACK_PORT", "tcp://10.0.0.1:6379"),
        ("FEEDBACK_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
        ("FEEDBACK_PORT_6379_TCP_ADDR", "10.0.0.1"),
        ("FEEDBACK_REDIS_SERVICE_HOST", "10.0.0.1"),
        ("FEEDBACK_REDIS_SERVICE_PORT_HTTP", "80"),
    ],
)
def test_settings_and_what_others_set_are_not_named(name: str, value: str) -> None:
    """Compose reads the same file, and Kubernetes sets variables for each Service, whatever it is called."""
    assert dict(unknown_settings({name: value})) == {}
