"""Users who are registered after others were synced: their earlier days are no hole under green partitions."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from resources.pseudonyms import pseudonym
from tests.integration.assets.sync.conftest import World


@pytest.fixture
def world(new_world: Callable[..., World]) -> World:
    """Of today: a sync of past days catches nobody up."""
    return new_world("--now", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")


def test_a_user_registered_later_is_synced_from_the_day_on_from_which_the_others_are(world: World):
    """The daily sync covers a week, and nobody would start a backfill because a webhook named somebody new."""
    for _ in range(3):
        world.add_user(nights=20)
    world.sync(days=21)
    newcomer = world.add_user(nights=20)

    world.sync(days=7)

    assert world.wrong(days=21) == []
    assert world.rows("SELECT FROM asleep.sleep_sessions WHERE user_id = :user", user=newcomer)
    world.api.reset()
    world.sync(days=7)
    assert world.api.requests() == {"list_sessions": 5}, "one list for each user, and one that confirms"


def test_a_user_synced_alone_at_first_is_synced_like_the_others_later(world: World):
    """A webhook or an operator may have had a few days of a new user read."""
    world.add_user(nights=20)
    world.add_user(nights=20)
    world.sync(days=21)
    newcomer = world.add_user(nights=20)

    world.sync(days=3, pseudonyms=(pseudonym(newcomer),))
    assert world.wrong(days=21) != []

    world.sync(days=7, cache_ttl_seconds=3600.0)
    assert world.wrong(days=21) == []


def test_one_user_read_further_back_than_all_others_pulls_nobody_along(world: World):
    """An operator looks at one user's old nights; nobody asked for a year of everybody's."""
    old = world.add_user(nights=25)
    for _ in range(3):
        world.add_user(nights=25)
    world.sync(days=7)
    world.sync(days=26, pseudonyms=(pseudonym(old),))
    world.add_user(nights=25)
    world.api.reset()

    world.sync(days=7)

    assert world.api.requests() == {"list_sessions": 6, "read_session": 7}, "a week of the newcomer's"


def test_a_sync_of_past_days_reads_those_days_only(world: World):
    """A person who names an old window gets that one."""
    world.add_user(nights=20)
    world.sync(days=21)
    newcomer = world.add_user(nights=20)
    three_days_ago = world.today - timedelta(days=3)

    world.sync_days(three_days_ago, three_days_ago)

    assert len(world.rows("SELECT FROM asleep.sleep_sessions WHERE user_id = :user", user=newcomer)) <= 3
