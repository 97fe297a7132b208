"""Lists in pages while rows come and go: no session is lost, none is stored twice."""

import pytest

from assets.sync.sync_batch import Mode
from tests.integration.assets.sync.conftest import CONFIRMING_LIST


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
    assert busy.api.requests() == {"list_sessions": 3 + CONFIRMING_LIST, "read_session": 230}, (
        "the end is confirmed once per run"
    )


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


@pytest.mark.parametrize("cap", [1, 2, 30, 99])
def test_every_session_is_found_with_any_page_cap_which_the_next_run_remembers(new_world, cap):
    """The contract's 100 is a promise about the request, not about the server: a page of 30 may not be the end."""
    world = new_world("--page-cap", str(cap))
    many = world.add_user()
    world.add_nights(many, *(world.ago(1 + number / 8) for number in range(cap + 15)), epochs=20)
    exactly_one_page = world.add_user()
    world.add_nights(exactly_one_page, *(world.ago(1 + number / 8) for number in range(cap)), epochs=20)
    world.add_user(nights=1)
    world.sync()
    assert world.wrong() == []
    assert _stored(world) == 2 * cap + 16
    world.api.reset()
    world.sync()

    least = world.api.ask("least_requests")["list_sessions"]
    assert world.missing_data() == []
    if cap > 2:  # pages of one row cannot overlap
        assert world.api.requests() == {"list_sessions": least + CONFIRMING_LIST}


@pytest.mark.parametrize(("before", "after"), [(100, 30), (12, 100), (100, 1)])
def test_a_page_cap_that_changes_between_two_runs_loses_nothing(new_world, before, after):
    """What was remembered of the pages' length does not hold for ever."""
    world = new_world("--page-cap", str(before))
    users = [world.add_user() for _ in range(3)]
    for user in users:
        world.add_nights(user, *(world.ago(20 + number / 8) for number in range(10)), epochs=20)
    world.sync(days=40)
    world.api.ask("behaviour", {"page_cap": after})
    for number, user in enumerate(users):
        world.add_nights(user, *(world.ago(1 + number / 8) for number in range(25 + 5 * number)), epochs=20)
    world.sync(days=40)

    assert world.missing_data() == []
    assert world.wrong(days=40) == []


@pytest.mark.parametrize("after", [1, 3])
def test_a_page_cap_that_falls_within_a_run_loses_nothing_in_that_run(new_world, after):
    """Long last pages from before the fall show nothing about the lists read after it."""
    world = new_world()
    for sessions in (40, 25, 30, 12):
        world.add_nights(world.add_user(), *(world.ago(1 + number / 8) for number in range(sessions)), epochs=20)
    world.faults({"kind": "page_cap", "cap": 10, "after": after})
    world.sync(workers=1)

    assert world.wrong() == []
    assert world.missing_data() == []


def test_a_page_cap_that_falls_between_two_batches_loses_nothing(new_world):
    """The last batch confirms the lists of all, and reads those again that were cut in an earlier batch."""
    world = new_world()
    for _ in range(8):
        world.add_nights(world.add_user(), *(world.ago(1 + number / 8) for number in range(20)), epochs=20)
    world.sync(run_id="one run", number=0, of=3)
    world.api.ask("behaviour", {"page_cap": 7})
    world.sync(run_id="one run", number=1, of=3)
    world.sync(run_id="one run", number=2, of=3)

    assert world.wrong() == []


def test_a_list_that_is_whole_by_chance_does_not_vouch_for_one_that_was_cut(new_world):
    """Both have as many rows as a page: the confirming page goes further back, and shows the size itself."""
    world = new_world("--page-cap", "10")
    whole, cut = world.add_user(), world.add_user()
    world.add_nights(whole, *(world.ago(4 + number / 4) for number in range(10)), epochs=20)
    world.add_nights(whole, *(world.ago(100 + number / 4) for number in range(5)), epochs=20)
    world.add_nights(cut, *(world.ago(1 + number / 4) for number in range(14)), epochs=20)
    world.sync(days=30)

    assert world.wrong() == []


def test_a_list_of_one_session_is_not_taken_for_cut_when_four_months_hold_more_than_a_page(new_world):
    """The confirming page ends before that session: it shows the size of the pages, and that a list of one is whole."""
    world = new_world("--page-cap", "3")
    for _ in range(2):
        user = world.add_user()
        world.add_nights(user, *(world.ago(days) for days in (1.5, 60, 61, 62, 63, 64)), epochs=20)
    world.sync(days=3)
    world.api.reset()
    world.sync(days=3)

    assert world.wrong(days=3) == []
    assert world.api.requests() == {"list_sessions": 2 + CONFIRMING_LIST}


def test_lists_of_a_run_that_was_killed_are_confirmed_by_the_next_one(new_world):
    """The next run lists other days, and would never look at the days that were cut."""
    world = new_world("--page-cap", "10")
    user = world.add_user()
    world.add_nights(user, *(world.ago(20 + number / 4) for number in range(14)), epochs=20)
    world.sync(days=30, run_id="killed", number=0, of=2)
    world.sync(days=30, run_id="killed too", number=1, of=2)
    assert [difference for difference in world.wrong() if "missing" in difference]
    world.sync(days=3)

    assert world.wrong() == []


def test_a_response_cut_alone_is_found_by_the_next_run_only(new_world):
    """The limit of one confirming list: nothing differs from a whole list, and the page size is as ever after it."""
    world = new_world()
    for sessions in (20, 30):
        world.add_nights(world.add_user(), *(world.ago(1 + number / 8) for number in range(sessions)), epochs=20)
    world.faults({"kind": "page_cap", "cap": 10, "count": 1})
    world.sync(workers=1)
    assert world.wrong()
    world.sync()

    assert world.wrong() == []


def test_a_session_that_a_list_lacked_is_found_by_reconcile_which_forgets_the_page_size(new_world):
    """It was analysed before the list was read, so the list may lack others that average-stats do not name."""
    world = new_world()
    for sessions in (20, 30):
        world.add_nights(world.add_user(), *(world.ago(1 + number / 8) for number in range(sessions)), epochs=20)
    world.faults({"kind": "page_cap", "cap": 10, "count": 1})
    world.sync(workers=1)
    world.faults()
    counts = world.sync(mode=Mode.RECONCILE)

    assert counts["sessions_inserted"] > 0
    assert [(row.session_id, row.kind) for row in world.missing_data()] == [(None, "malformed")]
    assert world.rows("SELECT page_rows FROM asleep.api_accounts")[0].page_rows < 30, "at most what was seen after it"
    world.sync()
    assert world.missing_data() == []
    assert world.wrong() == []


def test_an_empty_first_list_is_read_once_more_by_the_next_run(world):
    """Of a user of whom nothing is stored nothing contradicts it; and the next run lists other days."""
    world.add_user(nights=1)
    user = world.add_user()
    world.add_nights(user, world.ago(20), world.ago(21))
    world.faults({"kind": "empty_list", "user": user, "count": 1})
    world.sync()
    assert len(world.wrong()) == 2
    world.faults()
    world.sync(days=3)

    assert world.wrong() == []
    assert world.rows("SELECT FROM asleep.unconfirmed_lists") == []


def test_in_statistics_mode_a_listed_session_that_is_not_found_by_its_id_is_on_record(world):
    """It could not be analysed, so average-stats do not name it: only the list does."""
    user = world.add_user(nights=2)
    [session] = world.add_nights(user, world.ago(0.3), state="OPEN")
    world.faults({"kind": "missing_session", "session": session})
    world.sync(mode=Mode.STATISTICS)

    assert [(row.session_id, row.kind) for row in world.missing_data()] == [(session, "session_gone")]


def test_in_statistics_mode_a_list_without_sessions_that_average_stats_name_is_read_again(world):
    """The list alone names running sessions and zones: without it, rows would lack them silently."""
    user = world.add_user(nights=3)
    world.add_nights(user, world.ago(0.3), state="OPEN")
    world.faults({"kind": "empty_list", "count": 1})
    counts = world.sync(mode=Mode.STATISTICS)
    assert (counts["failures"], counts["sessions_inserted"]) == (0, 4)
    world.faults({"kind": "empty_list"})
    world.sync(mode=Mode.STATISTICS)

    assert [(row.session_id, row.kind) for row in world.missing_data()] == [(None, "malformed")]


def test_a_cap_that_holds_for_some_answers_only_loses_nothing(busy):
    """Half of the servers are old: a page of 20 after one of 100 is not the end either."""
    busy.add_user(nights=15)
    busy.faults({"kind": "page_cap", "share": 0.5})
    busy.sync(days=40)
    assert busy.wrong(days=40) == []


def test_a_second_look_at_a_list_that_was_cut_finds_all_and_forgets_the_size(new_world):
    """A stored session that the list lacks: the list was cut, so others may be missing, and later lists too."""
    world = new_world()
    user = world.add_user()
    world.add_nights(user, *(world.ago(1 + number / 4) for number in range(20)), epochs=20)
    world.sync()
    world.add_nights(user, *(world.ago(0.5 + number / 4) for number in range(2)), epochs=20)
    world.faults({"kind": "page_cap", "cap": 8, "count": 1})
    counts = world.sync()

    assert counts["failures"] == 0
    assert world.wrong() == []


def test_the_end_of_a_list_that_cannot_be_confirmed_is_missing_data(world):
    """Better a red run than a list that may have been cut."""
    world.add_user(nights=3)
    world.faults({"kind": "status_503", "endpoint": "list_sessions", "after": 1})
    counts = world.sync()

    assert (counts["users_failed"], counts["sessions_inserted"]) == (1, 3)
    assert [(row.session_id, row.kind) for row in world.missing_data()] == [(None, "unavailable")]
    world.faults()
    world.sync()
    assert world.missing_data() == []


def unreachable_when_asked_again(user):
    """The user's first list comes, no later one does."""
    return {"kind": "status_503", "endpoint": "list_sessions", "user": user, "after": 1}


def test_a_list_that_cannot_be_confirmed_hides_no_cut_list_of_another_user(new_world):
    """One user whose lists fail for weeks would leave every run without its check of the page size."""
    world = new_world("--page-cap", "10")
    failing, cut = world.add_user(), world.add_user()
    world.add_nights(failing, *(world.ago(3 + number / 4) for number in range(14)), epochs=20)
    sessions = world.add_nights(cut, *(world.ago(1 + number / 4) for number in range(14)), epochs=20)
    world.faults(unreachable_when_asked_again(failing))
    world.sync()

    assert {row.user_id for row in world.missing_data()} == {failing}
    assert world.wrong()
    assert not [each for each in world.wrong() if each.split()[1] in sessions]


def test_what_one_failing_list_leaves_unconfirmed_is_that_list_alone(world):
    """The next run has nothing else to confirm."""
    failing, *_ = [world.add_user(nights=nights) for nights in (6, 4, 4)]
    world.faults(unreachable_when_asked_again(failing))
    world.sync()

    assert [row.user_id for row in world.missing_data()] == [failing]
    assert [row.user_id for row in world.rows("SELECT user_id FROM asleep.unconfirmed_lists")] == [failing]
    world.faults()
    world.sync()
    assert world.missing_data() == world.rows("SELECT FROM asleep.unconfirmed_lists") == []


def test_the_end_of_a_list_is_confirmed_once_per_run_not_per_batch(world):
    """Thousands of users are many batches."""
    for nights in (4, 4, 4):
        world.add_user(nights=nights)
    for number in range(3):
        world.sync(run_id="one run", number=number, of=3)

    assert world.api.requests()["list_sessions"] == 3 + CONFIRMING_LIST


def test_a_list_that_never_settles_is_missing_data_until_it_does(busy):
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

    assert world.api.requests() == {"list_sessions": 3 + CONFIRMING_LIST, "read_session": 120}
    assert world.wrong(days=90) == []
    world.api.reset()
    world.sync(days=90)
    assert world.api.requests() == {"list_sessions": 3 + CONFIRMING_LIST}
