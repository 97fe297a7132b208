"""Lists in pages while rows come and go: no session is lost, none is stored twice."""

import pytest


@pytest.fixture
def busy(new_world):
    """A user with a nap every three hours: 230 sessions, three pages."""
    world = new_world()
    user = world.add_user()
    world.add_nights(user, *(world.ago(1 + number / 8) for number in range(230)), epochs=20)
    return world


def _stored(world):
    return world.rows("SELECT count(*) AS n FROM asleep.sleep_sessions WHERE deleted_at IS NULL")[0].n


def test_three_pages_are_read_to_the_end(busy):
    busy.sync(days=40)
    assert busy.wrong(days=40) == []
    assert _stored(busy) == 230
    assert busy.api.requests() == {"list_sessions": 3, "read_session": 230}


def test_a_session_inserted_between_two_pages_loses_no_other(busy):
    """Rows move back: the last row of a page comes again as the first of the next."""
    busy.faults({"kind": "insert_between_pages", "count": 1})
    busy.sync(days=40)
    assert busy.wrong(days=40) == []
    assert _stored(busy) == 231


def test_a_session_deleted_between_two_pages_hides_no_other(busy):
    """Rows move up: the first row of the next page would never be seen."""
    busy.faults({"kind": "delete_between_pages", "count": 1})
    busy.sync(days=40)
    assert busy.wrong(days=40) == []
    assert _stored(busy) == 229


def test_rows_that_come_twice_are_stored_once(busy):
    busy.faults({"kind": "duplicate_rows"})
    counts = busy.sync(days=40)
    assert counts["sessions_inserted"] == 230
    assert busy.wrong(days=40) == []


def test_pages_capped_at_twenty_rows_are_read_to_the_end(new_world):
    """The older documentation caps pages: a page of 20 is not the end."""
    world = new_world("--page-cap", "20")
    user = world.add_user()
    world.add_nights(user, *(world.ago(1 + number / 8) for number in range(60)), epochs=20)
    exactly_one_page = world.add_user()
    world.add_nights(exactly_one_page, *(world.ago(1 + number / 2) for number in range(20)), epochs=20)
    world.sync()
    assert world.wrong() == []
    assert _stored(world) == 80


def test_a_cap_that_holds_for_some_answers_only_loses_nothing(busy):
    """Half of the servers are old: a page of 20 after one of 100 is not the end either."""
    busy.add_user(nights=30)
    busy.faults({"kind": "page_cap", "share": 0.5})
    busy.sync(days=40)
    assert busy.wrong(days=40) == []


def test_a_list_that_never_settles_is_a_hole_until_it_does(busy):
    """A service that inserts between any two pages: give up, say so, try again next time."""
    busy.faults({"kind": "delete_between_pages"})
    counts = busy.sync(days=40)
    assert counts["users_failed"] == 1
    assert [(hole.session_id, hole.kind) for hole in busy.missing_data()] == [(None, "unavailable")]
    busy.faults()
    busy.sync(days=40)
    assert busy.missing_data() == []
    assert busy.wrong(days=40) == []


def test_a_ninety_day_backfill_lists_each_user_once(new_world):
    """Ninety days are one window: one list for a hundred sessions, not one for each day."""
    world = new_world()
    for nights in (0, 30, 90):
        world.add_user(nights=nights)
    world.sync(days=90)

    assert world.api.requests() == {"list_sessions": 3, "read_session": 120}
    assert world.wrong(days=90) == []
    world.api.reset()
    world.sync(days=90)
    assert world.api.requests() == {"list_sessions": 3}
