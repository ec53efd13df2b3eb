"""Signatures of webhooks: those of Standard Webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest

from worker.policy.webhook_signature import read_signing_keys, signed_headers

SPECIFIED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AT = datetime.fromtimestamp(1614265330, UTC)


def test_the_example_of_the_specification_has_its_signature() -> None:
    """From https://github.com/standard-webhooks/standard-webhooks, where every library is held to it."""
    (key,) = read_signing_keys(SPECIFIED)

    headers = signed_headers([key], message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", at=AT, body=b'{"test": 2432232314}')

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_secrets_sign_both() -> None:
    """A receiver that knows the old one, or the new one, takes it."""
    first, second = read_signing_keys(f"{SPECIFIED} whsec_{base64.b64encode(b'k' * 64).decode()}")

    old, new = signed_headers([first, second], message_id="m", at=AT, body=b"{}")["webhook-signature"].split(" ")

    assert (old == new, new[:3]) == (False, "v1,")
    assert base64.b64decode(new[3:]) == hmac.new(b"k" * 64, b"m.1614265330.{}", hashlib.sha256).digest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "t0p-s3cret",
        SPECIFIED.removeprefix("whsec_"),
        f"whsec_{base64.b64encode(b'k' * 23).decode()}",
        f"whsec_{base64.b64encode(b'k' * 65).decode()}",
        "whsec_not base64!",
        f"{SPECIFIED} whsec_short",
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(text: str) -> None:
    """With how to make one."""
    with pytest.raises(ValueError, match="openssl rand -base64 32") as refused:
        read_signing_keys(text)

    assert not [word for word in text.split() if word in str(refused.value)]
