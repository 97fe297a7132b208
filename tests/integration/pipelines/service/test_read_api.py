"""The read API answers the organisation's backend from the tables, fairly and quickly."""

import concurrent.futures
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from urllib.parse import quote

import pytest
from serving import READ_KEY, Service, served
from sqlalchemy import Engine, Integer, insert, text

from resources.database.schema.tables import monthly_averages, sleep_sessions, users

USER, OTHER_KEY = "G-1", "read-key-0002"
FIRST = datetime(2026, 3, 1, 22, tzinfo=UTC)
SESSIONS = 45


@pytest.fixture(scope="module", autouse=True)
def _stored(engine: Engine) -> None:
    """45 nights of one user, two of which start at the same moment, and a deleted one."""
    nights = [session(f"s{number:02}", FIRST + timedelta(days=number)) for number in range(SESSIONS - 1)]
    twin = session("s43b", FIRST + timedelta(days=43))
    deleted = session("gone", FIRST, deleted_at=FIRST)
    with engine.begin() as connection:
        connection.execute(insert(users), [{"user_id": name, "source": "import"} for name in (USER, "G-empty")])
        for row in (*nights, twin, deleted):
            connection.execute(insert(sleep_sessions), row)
        for month in ("2026-03-01", "2026-04-01"):
            counts = {column.name: 2 for column in monthly_averages.c if isinstance(column.type, Integer)}
            row = {"user_id": USER, "month": month, "as_of": month, "is_complete": True}
            connection.execute(insert(monthly_averages), {**row, **counts, "avg_sleep_efficiency": 0.9})


def session(session_id: str, start: datetime, **changes: object) -> dict[str, object]:
    local = start + timedelta(hours=9)
    return {
        "session_id": session_id,
        "user_id": USER,
        "state": "COMPLETE",
        "session_start_time": start,
        "session_end_time": start + timedelta(hours=8),
        "created_timezone": "Asia/Seoul",
        "local_zone": "Asia/Seoul",
        "zone_source": "own",
        "local_date": local.date(),
        "local_month": local.date().replace(day=1),
        "session_start_local": local.replace(tzinfo=None),
        "night_date": local.date(),
        "time_in_bed": 28800,
        "sleep_efficiency": 0.9,
        "sleep_stages": [0, 1, -1],
        "sleep_cycle_time": [start],
        "payload_hash": b"hash",
        "fetched_at": start,
        **changes,
    }


@pytest.fixture(scope="module")
def service(serve_app: Callable[..., Service], database_url: str) -> Service:
    generous = {
        "read_requests_per_hour": 10_000,
        "session_requests_per_minute": 10_000,
        "summary_requests_per_minute": 10_000,
    }
    options = served(database_url, enable_webhooks=False, service_api_keys=(READ_KEY,), **generous)
    return serve_app(options)


@pytest.fixture
def limited(serve_app: Callable[..., Service], database_url: str, engine: Engine) -> Service:
    """Two workers' worth of service with the limits of the first day."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.service_limits"))
    return serve_app(served(database_url, enable_webhooks=False, service_api_keys=(READ_KEY, OTHER_KEY)))


def test_a_session_comes_whole(service: Service):
    """Stages and figures, under the names of the table."""
    answer = service.get("/api/sessions/s03", READ_KEY)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["session_id"], found["user_id"], found["sleep_stages"]) == ("s03", USER, [0, 1, -1])
    assert (found["time_in_bed"], found["sleep_efficiency"]) == (28800, 0.9)
    assert found["session_start_time"] == "2026-03-04T22:00:00Z"
    assert (found["local_date"], found["session_start_local"]) == ("2026-03-05", "2026-03-05T07:00:00")
    assert found["sleep_cycle_time"] == ["2026-03-04T22:00:00Z"]
    assert not found.keys() & {"payload_hash", "contract_violations", "fetched_at", "deleted_at"}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("session_id", ["unknown", "gone", "%27%3B--", "é", "a%20b"])
def test_an_unknown_or_deleted_session_is_not_there(service: Service, session_id: str):
    """Deleted at the source means deleted for readers."""
    answer = service.get(f"/api/sessions/{session_id}", READ_KEY)
    assert (answer.status_code, answer.json()) == (404, {"detail": "There is no such session."})


def test_pages_hold_every_session_once_newest_first(service: Service):
    """Also those that start at the same moment."""
    seen: list[str] = []
    cursor = None
    while True:
        page = service.get(f"/api/users/{USER}/sessions", READ_KEY, limit=7, cursor=cursor).json()
        seen += [found["session_id"] for found in page["sessions"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["s43b", *(f"s{number:02}" for number in reversed(range(SESSIONS - 1)))]


def test_a_page_stays_valid_while_sessions_arrive(service: Service, engine: Engine):
    """An offset would repeat a row here."""
    path = f"/api/users/{USER}/sessions"
    first = service.get(path, READ_KEY, limit=5).json()
    with engine.begin() as connection:
        connection.execute(insert(sleep_sessions), session("new", FIRST + timedelta(days=60)))
    try:
        second = service.get(path, READ_KEY, limit=5, cursor=first["next_cursor"]).json()
    finally:
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM asleep.sleep_sessions WHERE session_id = 'new'"))
    ids = [found["session_id"] for page in (first, second) for found in page["sessions"]]
    assert ids == ["s43b", "s43", "s42", "s41", "s40", "s39", "s38", "s37", "s36", "s35"]


def test_a_list_row_has_no_stages(service: Service):
    """A hundred nights of stages would be a megabyte."""
    (row,) = service.get(f"/api/users/{USER}/sessions", READ_KEY, limit=1).json()["sessions"]
    assert not [name for name in row if name.endswith("_stages")]
    assert row["time_in_bed"] == 28800


def test_a_range_counts_local_dates_and_both_ends(service: Service):
    """22:00 UTC is the next day in Seoul."""
    parameters = {"from": "2026-03-05", "to": "2026-03-07"}
    page = service.get(f"/api/users/{USER}/sessions", READ_KEY, **parameters).json()
    assert [found["local_date"] for found in page["sessions"]] == ["2026-03-07", "2026-03-06", "2026-03-05"]
    assert page["next_cursor"] is None


def test_a_range_may_be_as_wide_as_dates_go(service: Service):
    """People write 9999-12-31 for "no end"."""
    parameters = {"from": "0001-01-01", "to": "9999-12-31", "limit": 100}
    assert len(service.get(f"/api/users/{USER}/sessions", READ_KEY, **parameters).json()["sessions"]) == SESSIONS


def test_a_user_without_sessions_is_not_an_unknown_user(service: Service):
    """An empty list and no such user are different answers."""
    assert service.get("/api/users/G-empty/sessions", READ_KEY).json()["sessions"] == []
    assert service.get("/api/users/G-unknown/sessions", READ_KEY).status_code == 404


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"from": "2026-03-07", "to": "2026-03-06"}, 422),
        ({"from": "yesterday"}, 422),
        ({"limit": 0}, 422),
        ({"limit": 101}, 422),
        ({"cursor": "nonsense"}, 400),
        ({"cursor": ""}, 400),
        ({"cursor": "MDAwMS0wMS0wMVQwMDowMDowMCsyMzo1OSB4"}, 400),
        ({"cursor": "MjAyNi0wMy0wN1QwMDowMDowMCBz"}, 400),
        ({"cursor": "MjAyNi0wMy0wN1QwMDowMDowMCswMDowMCAAYQ"}, 400),
    ],
)
def test_a_wrong_parameter_is_named_and_not_repeated(service: Service, parameters: dict[str, object], status: int):
    """The refusal helps, and holds nothing of what was sent."""
    answer = service.get(f"/api/users/{USER}/sessions", READ_KEY, **parameters)
    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]
    assert "nonsense" not in answer.text
    assert "yesterday" not in answer.text


def test_a_summary_holds_the_last_session_the_months_and_the_freshness(service: Service, engine: Engine):
    """What an app shows on its first page."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE asleep.users SET last_synced_at = '2026-04-15T06:00Z', timezone = 'Asia/Tokyo'")
        )
        connection.execute(
            text("INSERT INTO asleep.stale_months (user_id, month) VALUES (:it, '2026-04-01')"), {"it": USER}
        )
    summary = service.get(f"/api/users/{USER}/summary", READ_KEY).json()
    assert (summary["sessions"], summary["last_session"]["session_id"]) == (SESSIONS, "s43b")
    assert [(month["month"], month["avg_sleep_efficiency"]) for month in summary["months"]] == [
        ("2026-04-01", 0.9),
        ("2026-03-01", 0.9),
    ]
    assert summary["timezone"] == "Asia/Seoul"  # that of the last session, not the registered one
    assert summary["freshness"]["last_synced_at"] == "2026-04-15T06:00:00Z"
    assert summary["freshness"]["stale_months"] == 1
    empty = service.get("/api/users/G-empty/summary", READ_KEY).json()
    assert (empty["sessions"], empty["last_session"], empty["months"]) == (0, None, [])
    assert empty["timezone"] == "Asia/Tokyo"
    assert service.get("/api/users/G-unknown/summary", READ_KEY).status_code == 404


def test_a_summary_counts_the_last_7_and_30_dates(service: Service, engine: Engine):
    """Somebody's last month is asked for on every day of the month; naps are no nights, sessions are all of them."""
    today = datetime.now(UTC).date()
    with engine.begin() as connection:
        connection.execute(insert(users), {"user_id": "G-recent", "source": "import"})
        for days_ago in (0, 3, 6, 7, 29, 30):
            start = datetime.combine(today, time(), UTC) - timedelta(days=days_ago, hours=10)
            night = {"night_date": today - timedelta(days=days_ago), "night_role": "main", "episode_sessions": 1,
                     "time_in_sleep": 25200, "sleep_latency": 600, "time_in_wake": 900}  # fmt: skip
            name = f"recent{days_ago}"
            row = session(name, start, user_id="G-recent", **night, episode_id=name)
            connection.execute(insert(sleep_sessions), row)
        nap = {"night_date": today, "night_role": "nap", "episode_sessions": 1, "time_in_sleep": 3600}
        start = datetime.combine(today, time(), UTC)
        connection.execute(
            insert(sleep_sessions), session("recent nap", start, user_id="G-recent", **nap, episode_id="recent nap")
        )
    week, month = service.get("/api/users/G-recent/summary", READ_KEY).json()["recent"]

    assert (week["days"], week["nights"], week["naps"], week["sessions"]) == (7, 3, 1, 4)
    assert (week["valid_nights"], month["valid_nights"]) == (3, 5)
    assert (month["days"], month["nights"], month["naps"], month["sessions"]) == (30, 5, 1, 6)
    assert week["avg_time_in_sleep_of_date"] == pytest.approx(25200 + 1200)
    assert week["avg_efficiency_of_night"] == pytest.approx(25200 / 28800)
    assert (week["avg_latency_of_night"], week["avg_waso_of_night"]) == (600, 900)
    assert week["first_date"] == str(today - timedelta(days=6))


def test_a_night_of_tomorrows_date_does_not_add_a_date_to_the_last_seven(service: Service, engine: Engine):
    """East of UTC people wake up on a date that UTC has not reached: eight nights in seven days would be wrong."""
    today = datetime.now(UTC).date()
    with engine.begin() as connection:
        connection.execute(insert(users), {"user_id": "G-east", "source": "import"})
        for days_ago in range(-1, 40):
            night_date = today - timedelta(days=days_ago)
            name = f"east{days_ago}"
            night = {"night_date": night_date, "night_role": "main", "episode_sessions": 1, "time_in_sleep": 25200}
            start = datetime.combine(night_date, time(), UTC) - timedelta(hours=20)
            row = session(name, start, user_id="G-east", **night, episode_id=name)
            connection.execute(insert(sleep_sessions), row)
    week, month = service.get("/api/users/G-east/summary", READ_KEY).json()["recent"]

    assert (week["nights"], week["sessions"], month["nights"], month["sessions"]) == (7, 7, 30, 30)
    assert week["first_date"] == str(today - timedelta(days=5))
    described = service.get("/openapi.json").json()["components"]["schemas"]["RecentNights"]["properties"]
    assert "month" not in described["sessions"]["description"], "they are those of the dates"


@pytest.mark.parametrize("path", ["/api/sessions/s03", f"/api/users/{USER}/sessions", f"/api/users/{USER}/summary"])
@pytest.mark.parametrize("key", [None, "wrong"])
def test_reading_requires_a_key(service: Service, path: str, key: str | None):
    """It is health data."""
    answer = service.get(path, key)
    assert answer.status_code == 401
    assert USER not in answer.text


@pytest.mark.parametrize("user_id", ["G/7", "G-7/sessions", "käufer|7", "x" * 500])
def test_an_unusual_id_can_be_read(service: Service, engine: Engine, user_id: str):
    """Ids are opaque; whatever was stored can be requested."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES (:id, 'import')"), {"id": user_id})
    answer = service.get(f"/api/users/{quote(user_id, safe='')}/sessions", READ_KEY)
    assert (answer.status_code, answer.json()["user_id"]) == (200, user_id)


def test_without_keys_there_is_no_read_api(serve_app: Callable[..., Service], database_url: str):
    """Off until somebody turns it on."""
    service = serve_app(served(database_url, enable_webhooks=False))
    assert service.get("/api/sessions/s03", "").status_code == 404
    assert "/api/sessions/{session_id}" not in service.get("/openapi.json").json()["paths"]


def test_the_limits_are_as_documented_and_stand_in_the_headers(limited: Service):
    """10 a minute for sessions, 5 for summaries."""
    answers = [limited.get("/api/sessions/s03", READ_KEY) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers[:10]] == [str(n) for n in reversed(range(10))]
    refused = answers[-1]
    assert (refused.headers["ratelimit-limit"], refused.headers["x-ratelimit-limit"]) == ("10", "10")
    assert 1 <= int(refused.headers["retry-after"]) <= 70
    assert refused.headers["ratelimit-reset"] == refused.headers["retry-after"]
    assert abs(int(answers[9].headers["ratelimit-reset"]) - int(refused.headers["retry-after"])) <= 1
    assert refused.headers["ratelimit-policy"] == "10;w=60, 100;w=3600"
    assert list(refused.json()) == ["detail"]
    statuses = [limited.get(f"/api/users/{USER}/summary", READ_KEY).status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    assert limited.get("/api/sessions/s03", OTHER_KEY).status_code == 200


def test_a_refusal_and_an_unknown_thing_carry_the_headers_too(limited: Service):
    """A client that gets 404 or 422 still has to know what is left."""
    assert limited.get("/api/sessions/unknown", READ_KEY).headers["ratelimit-remaining"] == "9"
    assert "ratelimit-remaining" not in limited.get("/api/sessions/unknown").headers


@pytest.mark.usefixtures("limited")
def test_all_workers_share_the_limits(start_service: Callable[..., Service], database_url: str, engine: Engine):
    """Four processes must not mean four times the limit."""
    services = [
        start_service(database_url, workers=2, SERVICE_API_KEYS=READ_KEY, ENABLE_WEBHOOKS="false") for _ in range(2)
    ]
    with concurrent.futures.ThreadPoolExecutor(12) as crowd:
        statuses = list(crowd.map(lambda n: services[n % 2].get("/api/sessions/s03", READ_KEY).status_code, range(40)))
    assert statuses.count(200) == 10
    assert statuses.count(429) == 30
    with engine.connect() as connection:
        clients = connection.scalars(text("SELECT DISTINCT client FROM asleep.service_limits")).all()
    assert len(clients) == 1
    assert READ_KEY not in clients[0]
