"""Lists are read to their end, although rows come and go while we read."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.asleep.errors import Malformed, Unavailable
from resources.asleep.paging import Pager, PageSize
from resources.asleep.records import ListedSession, SessionList

FIRST_START = datetime(2026, 1, 1, tzinfo=UTC)


def row(number: int) -> ListedSession:
    return ListedSession(f"s{number}", "COMPLETE", FIRST_START + timedelta(hours=number))


@dataclass
class Server:
    """A list in pages by offset, ordered by number, that may change before each page."""

    numbers: list[int]
    page_cap: int = 100
    changes: Callable[["Server"], None] = lambda _: None
    requests: int = 0
    ever: set[int] = field(default_factory=set)
    always: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ever = set(self.numbers)
        self.always = set(self.numbers)

    def page(self, offset: int) -> tuple[ListedSession, ...]:
        """One page, after whatever changes before it."""
        assert offset >= 0
        self.changes(self)
        self.requests += 1
        self.ever |= set(self.numbers)
        self.always &= set(self.numbers)
        ordered = sorted(self.numbers)
        return tuple(row(number) for number in ordered[offset : offset + min(self.page_cap, 100)])


def ids(listed: SessionList) -> list[str]:
    return [each.session_id for each in listed.rows]


def expected(numbers: list[int]) -> list[str]:
    return [f"s{number}" for number in sorted(numbers)]


@pytest.mark.parametrize("page_cap", [100, 50, 21, 3, 2, 1])
def test_every_list_that_stands_still_is_read_whole(page_cap: int):
    """Every size, so that each way in which a last page can end is among them."""
    for size in range(210):
        server = Server(list(range(size)), page_cap)

        listed = Pager(PageSize(page_cap)).read_all(server.page)

        assert ids(listed) == expected(server.numbers)
        assert listed.requests == server.requests


@given(
    size=st.integers(0, 130), caps=st.lists(st.integers(2, 100), min_size=140, max_size=140), known=st.integers(0, 100)
)
def test_a_list_read_until_nothing_new_comes_is_whole_whatever_the_pages_are(size: int, caps: list[int], known: int):
    """Servers of several kinds side by side: what is known of the size does not matter to a second look."""
    rows = [row(number) for number in range(size)]
    cap = iter(caps)

    listed = Pager(PageSize(known)).read_all(lambda offset: tuple(rows[offset : offset + next(cap)]), until_empty=True)

    assert ids(listed) == expected(list(range(size)))
    assert listed.last_page_rows == 0


@pytest.mark.parametrize(
    ("size", "page_cap", "requests", "last_page_rows"),
    [
        (0, 100, 1, 0),
        (1, 100, 1, 1),
        (99, 100, 1, 99),
        (100, 100, 2, 0),
        (101, 100, 2, 2),
        (198, 100, 2, 99),
        (199, 100, 3, 0),
        (29, 30, 1, 29),
        (30, 30, 2, 0),
        (31, 30, 2, 2),
        (59, 30, 3, 0),
    ],
)
def test_no_request_more_than_needed(size: int, page_cap: int, requests: int, last_page_rows: int):
    """A first sync lists every user once: a page too many each is thousands of requests."""
    listed = Pager(PageSize(page_cap)).read_all(Server(list(range(size)), page_cap).page)

    assert (listed.requests, listed.last_page_rows) == (requests, last_page_rows)


def test_where_no_size_is_known_each_page_as_long_as_the_longest_is_followed():
    """After a list lacked a session, nothing is taken for granted: only a page shorter than another is the last."""
    pager = Pager(PageSize(0))
    requests = [pager.read_all(Server(list(range(size)), 30).page).requests for size in (12, 9, 12, 20, 45, 12)]

    assert requests == [2, 1, 2, 2, 2, 1]
    assert pager.size.rows == 30


def test_a_size_that_was_lowered_is_not_raised_in_the_same_run():
    """Some servers cut earlier than others: one long page does not show that short ones are the last."""
    pager = Pager(PageSize())
    pager.size.lower(20)
    pager.read_all(Server(list(range(100))).page)

    assert pager.size.rows == 20


def test_equal_start_times_are_no_duplicates():
    """Ids tell sessions apart, not their start."""
    rows = tuple(ListedSession(f"s{number}", "COMPLETE", FIRST_START) for number in range(150))
    listed = Pager().read_all(lambda offset: rows[offset : offset + 100])
    assert sorted(ids(listed)) == sorted(each.session_id for each in rows)


def once(action: Callable[[Server], None], before_page: int) -> Callable[[Server], None]:
    def change(server: Server) -> None:
        if server.requests == before_page:
            action(server)

    return change


def test_a_session_deleted_between_two_pages_costs_no_other():
    """By offset alone the row that slides over the seam would be missed, and taken for deleted."""
    server = Server(list(range(150)), changes=once(lambda server: server.numbers.remove(3), 1))
    listed = Pager().read_all(server.page)
    assert ids(listed) == expected(server.numbers)


def test_a_session_inserted_between_two_pages_makes_no_duplicate():
    server = Server(list(range(0, 300, 2)), changes=once(lambda server: server.numbers.append(5), 1))
    listed = Pager().read_all(server.page)
    assert ids(listed) == expected(server.numbers)


def test_all_sessions_deleted_between_two_pages():
    server = Server(list(range(150)), changes=once(lambda server: server.numbers.clear(), 1))
    assert ids(Pager().read_all(server.page)) == []


def test_a_list_that_never_settles_is_given_up():
    """Better no answer than one with holes; the user is tried again later."""
    counter = itertools.count(1000)

    def churn(server: Server) -> None:
        server.numbers.remove(min(server.numbers))
        server.numbers.append(next(counter))

    server = Server(list(range(150)), changes=churn)
    with pytest.raises(Unavailable, match="settle"):
        Pager().read_all(server.page)
    assert server.requests <= 5 * 3


def test_a_row_repeated_at_the_top_of_each_page_is_folded():
    """Seen with servers that page by time instead of by position."""
    server = Server(list(range(250)))

    def page(offset: int) -> tuple[ListedSession, ...]:
        return server.page(max(0, offset - 1))

    listed = Pager().read_all(page)
    assert ids(listed) == expected(server.numbers)


@settings(deadline=None)
@given(size=st.integers(0, 250), chance=st.randoms(use_true_random=False), page_cap=st.sampled_from([20, 100]))
def test_rows_repeated_at_random_are_folded(size: int, chance: st.randoms, page_cap: int):
    """A page that repeats earlier rows, within its size, must not push others out of sight."""
    server = Server(list(range(size)), page_cap)

    def page(offset: int) -> tuple[ListedSession, ...]:
        rows = list(server.page(offset))
        if offset and rows and chance.random() < 0.5:
            rows.insert(0, row(chance.randrange(offset)))
        return tuple(rows[:page_cap])

    try:
        listed = Pager(PageSize(page_cap)).read_all(page)
    except Unavailable:
        return
    assert ids(listed) == expected(server.numbers)


def test_a_page_made_longer_by_a_repeated_row_does_not_push_the_next_page_on():
    """Counting rows instead of sessions would step over one."""
    rows = [row(number) for number in range(330)]

    def page(offset: int) -> tuple[ListedSession, ...]:
        here = rows[offset : offset + 100]
        return (*here[:50], *here[:5], *here[50:]) if offset else tuple(here)

    assert ids(Pager().read_all(page)) == expected(list(range(330)))


def test_sessions_of_equal_start_that_change_places_between_pages_are_not_lost():
    """Their order is unknown: the seam may hold although a third one slipped through it."""
    before = [row(number) for number in range(98)]
    a, b, c = (ListedSession(name, "COMPLETE", row(98).session_start_time) for name in "abc")
    orders = iter([[*before, a, b, c], [*before, c, b, a]])
    last = [*before, a, b, c]

    def page(offset: int) -> tuple[ListedSession, ...]:
        return tuple(next(orders, last)[offset : offset + 100])

    assert {"a", "b", "c"} <= set(ids(Pager().read_all(page)))


def test_a_server_that_ignores_the_offset_ends():
    rows = Server(list(range(100))).page(0)
    listed = Pager().read_all(lambda _: rows)
    assert ids(listed) == expected(list(range(100)))


def test_a_list_without_end_is_malformed():
    counter = itertools.count()
    with pytest.raises(Malformed, match="no end"):
        Pager().read_all(lambda _: tuple(row(next(counter)) for _ in range(100)))


def test_the_newest_reading_of_a_session_counts():
    """It may have become COMPLETE between two pages."""
    pages = [
        tuple(row(number) for number in range(100)),
        (ListedSession("s99", "CLOSED", row(99).session_start_time), row(100)),
    ]
    listed = Pager().read_all(lambda offset: pages[1 if offset else 0])
    assert listed.rows[99].state == "CLOSED"


def test_rows_come_by_start_time_whatever_the_servers_order():
    rows = tuple(row(number) for number in (3, 1, 2))
    assert ids(Pager().read_all(lambda _: rows)) == ["s1", "s2", "s3"]


CHANGE = st.tuples(st.sampled_from(["insert", "delete"]), st.integers(0, 10_000))


@settings(max_examples=400, deadline=None)
@given(
    size=st.sampled_from([0, 1, 19, 20, 21, 39, 40, 99, 100, 101, 150, 199, 200, 201, 299]),
    page_cap=st.sampled_from([20, 100]),
    script=st.lists(st.lists(CHANGE, max_size=4), max_size=12),
)
def test_whatever_changes_nothing_that_was_there_all_along_is_lost(
    size: int, page_cap: int, script: list[list[tuple[str, int]]]
):
    """A session lost here would be marked as deleted; one invented would be fetched for ever."""
    steps = iter(script)

    def change(server: Server) -> None:
        for kind, place in next(steps, []):
            if kind == "insert":
                server.numbers.append(10_000 + place if place not in server.numbers else -place - 1)
                server.numbers = sorted(set(server.numbers))
            elif server.numbers:
                server.numbers.pop(place % len(server.numbers))

    server = Server([number * 50 for number in range(size)], page_cap, change)
    try:
        listed = Pager(PageSize(page_cap)).read_all(server.page)
    except Unavailable:
        return
    found = ids(listed)
    assert len(found) == len(set(found))
    assert set(expected(list(server.always))) <= set(found)
    assert set(found) <= set(expected(list(server.ever)))
