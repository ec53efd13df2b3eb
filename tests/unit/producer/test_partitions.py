"""Which partition an event belongs to, and what its keys begin with: neither may ever change."""

from __future__ import annotations

from collections import Counter

import pytest

from producer.broker_url import BrokerUrl
from producer.partitions import partition_of, slot_of, tags

_SALTS = {
    1: "0",
    16: "23 20 1 2 40 43 60 63 10 13 23 20 11 12 40 43",
    64: "38 8 69 40 63 373 32 108 70 2 159 13 52 373 61 48 71 58 73 152 39 10 68 41 169 32 312 63 71 58 352 12 29"
    " 102 139 33 72 313 70 59 32 362 63 119 69 40 38 11 130 52 31 18 9 70 149 43 8 52 79 50 33 169 0 312",
}


@pytest.mark.parametrize("count", _SALTS)
def test_the_tags_stay_what_they_are(count: int) -> None:
    """Another tag would leave what waits under the old one behind."""
    assert tags(count) == tuple(f"{{feedback:{n:02d}.{salt}}}" for n, salt in enumerate(_SALTS[count].split()))


def test_the_slot_is_that_of_the_specification() -> None:
    """Its own examples, and redis-cli's."""
    assert (slot_of("123456789"), slot_of("foo")) == (0x31C3, 12182)


@pytest.mark.parametrize("count", [1, 3, 16, 64, 256])
def test_each_partition_lies_in_its_own_range_of_slots(count: int) -> None:
    """So primaries with equal ranges have as many partitions each, give or take one."""
    assert [slot_of(tag.strip("{}")) * count // 16_384 for tag in tags(count)] == list(range(count))


@pytest.mark.parametrize(
    ("request_id", "of_16", "of_64"),
    [
        ("5f0c4a52-7b5e-4c29-9f43-3c3a3f1f0d11", 5, 21),
        ("00000000-0000-4000-8000-000000000001", 9, 25),
    ],
)
def test_the_partition_of_a_request_id_stays_what_it_is(request_id: str, of_16: int, of_64: int) -> None:
    """Producers of any release, in any language, and workers find the votes on one answer in one place."""
    assert [partition_of(request_id, count) for count in (1, 16, 64)] == [0, of_16, of_64]


def test_events_are_spread_evenly() -> None:
    """Also those whose request_ids differ in their last digits alone."""
    found = Counter(partition_of(f"00000000-0000-4000-8000-{number:012d}", 16) for number in range(16_000))

    assert set(found) == set(range(16))
    assert max(found.values()) < 1_200


def test_one_redis_without_partitions_has_no_prefix() -> None:
    """A cluster always has one; its partitions are 16 if nothing else is said."""
    assert BrokerUrl.read("redis://one").prefixes() == ("",)
    assert BrokerUrl.read("redis://one").prefixes(3) == tags(3)
    assert BrokerUrl.read("redis+cluster://one").prefixes() == tags(16)
    assert BrokerUrl.read("redis+cluster://one").prefixes(1) == tags(1)


@pytest.mark.parametrize("count", [0, 257, True, "3"])
def test_a_wrong_number_of_partitions_is_refused(count: int) -> None:
    """The error names what may be given."""
    with pytest.raises(ValueError, match=r"partitions is .*: expected a whole number from 1 to 256"):
        BrokerUrl.read("redis://one").prefixes(count)
