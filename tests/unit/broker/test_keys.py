from __future__ import annotations

from kombu.transport.redis import Channel

from producer.message import QUEUE
from worker.app import create_app
from worker.broker.keys import KEYS
from worker.broker.safe_channel import SafeChannel
from worker.settings import load_settings


def test_the_keys_are_those_of_the_workers_transport() -> None:
    """A worker whose messages lay elsewhere would be out of the accounts."""
    app = create_app(load_settings(_env_file=None))
    options = app.conf.broker_transport_options

    assert (KEYS.prefix, KEYS.sep, tuple(KEYS.steps)) == (
        SafeChannel.global_keyprefix,
        Channel.sep,
        tuple(Channel.priority_steps),
    )
    assert (KEYS.unacked_name, KEYS.index_name) == (Channel.unacked_key, Channel.unacked_index_key)
    assert (KEYS.counts, KEYS.holds) == (options["counts"], options["holds"])
    assert app.conf.task_default_queue == QUEUE
    assert not {"global_keyprefix", "sep", "priority_steps", "unacked_key", "unacked_index_key"} & set(options)
