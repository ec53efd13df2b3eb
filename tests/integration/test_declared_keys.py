"""What shows that scripts touch declared keys only can itself be seen to fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.support.scripts import Touched, watching_keys

if TYPE_CHECKING:
    import redis

    from tests.support.processes import RedisServer

UNDECLARED: Final = {
    "one that it computes": "redis.call('SET', KEYS[1] .. ':more', ARGV[1])",
    "one that it reads": "return redis.call('GET', 'other')",
    "one of several": "return redis.call('EXISTS', KEYS[1], 'other', KEYS[1])",
    "the second of two": "redis.call('SET', KEYS[1], 1) redis.call('RENAME', KEYS[1], 'other')",
    "one that is refused": "return redis.pcall('LPUSH', 'other', 'a')",
    "one that is not text": "return redis.call('GET', 'a\\0\\255\"\\\\')",
}


@pytest.mark.parametrize("script", UNDECLARED.values(), ids=UNDECLARED)
def test_a_key_that_was_not_declared_is_told(broker: RedisServer, broker_client: redis.Redis, script: str) -> None:
    """Whichever command it is, and wherever the key stands in it."""
    with pytest.raises(AssertionError, match="Touched"), watching_keys(broker.port):
        broker_client.eval(script, 1, "list", "value")


def test_a_declared_key_without_a_name_is_told(broker: RedisServer, broker_client: redis.Redis) -> None:
    """A cluster puts it into a slot of its own, so such a call could not be made there."""
    with pytest.raises(AssertionError, match="the call itself"), watching_keys(broker.port):
        broker_client.eval("return 1", 2, "list", "")


def test_declared_keys_are_passed_over(broker: RedisServer, broker_client: redis.Redis) -> None:
    """Also where names are odd, and where other clients have their own."""
    names = ["a\x06\x16 b", 'q"\\', "ключ"]
    script = """
        for _, key in ipairs(KEYS) do redis.call('SET', key, redis.call('TIME')[1]) end
        return redis.call('EXISTS', unpack(KEYS))
    """
    with watching_keys(broker.port):
        loaded = broker_client.script_load(script)
        assert broker_client.evalsha(loaded, len(names), *names) == 3
        broker_client.set("no key of a script", 1)
        assert broker_client.eval(script, len(names), *names) == 3


def test_what_is_told_names_the_command_and_the_key() -> None:
    """So that the script's line can be found."""
    assert str(Touched("sha", "set", b"other")) == "Touched(script='sha', command='set', key=b'other')"
