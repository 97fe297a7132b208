"""What is unusual about sessions, and what is odd about answers: all of it is stored, nothing is dropped silently."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.checks.sql_checks import checks
from resources.database.resource import Database
from tests.integration.assets.sync.conftest import CONFIRMING_LIST


def _check(world, name):
    """The asset check `name`, run against the world's database."""
    definitions = dg.Definitions(asset_checks=checks, resources={"database": Database(lambda: _url(world))})
    key = dg.AssetCheckKey(dg.AssetKey("sleep_sessions"), name)
    selection = dg.AssetSelection.checks(key)
    job = dg.Definitions.merge(definitions, dg.Definitions(jobs=[dg.define_asset_job("look", selection=selection)]))
    with dg.DagsterInstance.ephemeral() as instance:
        run = job.resolve_job_def("look").execute_in_process(instance=instance, raise_on_error=False)
        [evaluation] = run.get_asset_check_evaluations()
    return evaluation


def _url(world):
    return world.engine.url.render_as_string(hide_password=False)


def test_every_oddity_of_a_whole_population_is_stored_field_by_field(new_world):
    """All that real users have, over more than a year: two changes of the clocks, sessions left open, old ids."""
    world = new_world(
        "--users", "24", "--days", "20", "--seed", "3", "--never-slept-stat", "null", "--sleep-cycle", "fractional"
    )
    world.sync(days=401)

    assert world.wrong(days=401) == []
    assert {tag for user in world.api.ask("users") if user["sessions"] for tag in user["tags"]} >= {
        *("dst_nights", "never_slept", "too_short", "too_long", "too_many_defects", "open_old", "unknown_zone"),
        *("unknown_epochs", "several_per_day", "moving_zones", "missing_tail", "unexpected_end", "old_ids"),
    }
    fractions = "SELECT FROM asleep.sleep_sessions WHERE sleep_cycle <> trunc(sleep_cycle)"
    assert len(world.rows(fractions)) > 10
    assert world.averages() == world.averages_from_nothing()


def test_a_night_in_which_the_clocks_change_keeps_its_local_date_and_hours(world):
    """The hour that comes twice, and the one that never comes: analysts count nights by the local clock."""
    user = world.add_user(timezone="Europe/Berlin")
    begins = datetime(2026, 10, 24, 21, 30, tzinfo=UTC)  # 23:30 in Berlin; the clocks go back at 01:00 UTC
    ends = datetime(2026, 10, 25, 6, 15, tzinfo=UTC)
    world.add_nights(user, begins, end=ends.isoformat(), zone="Europe/Berlin")
    world.sync(days=60)

    assert world.wrong(days=60) == []
    [night] = world.rows("SELECT * FROM asleep.sleep_sessions")
    assert str(night.local_date) == "2026-10-24"
    assert night.session_start_local == datetime(2026, 10, 24, 23, 30)  # noqa: DTZ001 what the clock showed
    assert night.session_end_local == datetime(2026, 10, 25, 7, 15)  # noqa: DTZ001
    assert night.time_in_bed == (ends - begins).total_seconds()


def test_a_user_who_moves_between_time_zones_keeps_the_local_time_of_each_night(world):
    """Friday in Seoul, Saturday over the date line: each night has the date that its sleeper saw."""
    user = world.add_user()
    start = datetime(2026, 11, 13, 15, 30, tzinfo=UTC)
    for number, zone in enumerate(("Asia/Seoul", "Pacific/Honolulu", "America/St_Johns", "Not/AZone")):
        world.add_nights(user, start + timedelta(days=number), zone=zone, epochs=400)
    world.sync()

    assert world.wrong() == []
    found = world.rows(
        "SELECT created_timezone AS zone, local_date FROM asleep.sleep_sessions ORDER BY session_start_time"
    )
    assert [(row.zone, str(row.local_date)) for row in found] == [
        ("Asia/Seoul", "2026-11-14"),
        ("Pacific/Honolulu", "2026-11-14"),
        ("America/St_Johns", "2026-11-15"),
        ("Not/AZone", "2026-11-16"),  # by the zone last known: noon in St John's
    ]


def test_values_of_the_wrong_type_are_null_in_their_column_whole_in_the_payload_and_counted(world):
    """One odd field must not fail a run, nor be guessed at, nor vanish."""
    world.add_user(nights=3)
    world.faults({"kind": "wrong_types"})
    counts = world.sync()
    assert counts["failures"] == 0

    rows = world.rows(
        "SELECT s.*, p.result FROM asleep.sleep_sessions AS s JOIN asleep.session_payloads AS p USING (session_id)"
    )
    assert len(rows) == 3
    for row in rows:
        stat = row.result["stat"]
        assert (row.sleep_index, stat["sleep_index"]) == (None, "high")
        assert (row.sleep_efficiency, stat["sleep_efficiency"]) == (0.8824, 88.24)
        assert (row.sleep_time, stat["sleep_time"]) == (None, "06:30:00")
        assert (row.sleep_cycle, stat["sleep_cycle"]) == (None, [{"start": 0, "end": 5400}])
        assert (row.sleep_cycle_time or [], stat["sleep_cycle_time"]) == ([], [5400, 10800])
        assert (row.peculiarities, row.result["device"]) == (["LOUD_ROOM"], {"model": "unknown"})
        assert row.wake_time is not None
        assert row.time_in_sleep == stat["time_in_sleep"]
        assert {"stat.sleep_index: not a number", "stat.stress_index: unknown field", "device: unknown field"} <= set(
            row.contract_violations
        )
    check = _check(world, "responses_match_contract")
    assert not check.passed
    assert check.metadata["found: stat.sleep_index: not a number"].value == 3


def test_what_is_odd_about_a_row_of_the_list_is_counted_too(world):
    """The list has no payload of its own: its contract_violations stand with the session."""
    world.add_user(nights=2)
    world.faults({"kind": "wrong_types", "endpoint": "list_sessions"})
    world.sync()

    found = [
        row.contract_violations
        for row in world.rows("SELECT contract_violations FROM asleep.sleep_sessions ORDER BY session_start_time")
    ]
    assert found == [["list.device: unknown field", "list.last_received_seq_num: not a number"], []]
    world.faults()
    world.sync()
    assert all(" contract_violations:" in wrong for wrong in world.wrong())


def test_an_oddity_that_stays_costs_no_reading_a_night(world):
    """A field that the API now writes differently for all: reading every session again each day would not help."""
    world.add_user(nights=2)
    world.faults({"kind": "wrong_types", "endpoint": "list_sessions"})
    world.sync()
    world.api.reset()
    world.sync()

    assert world.api.requests() == {"list_sessions": 1 + CONFIRMING_LIST}


def test_text_that_a_database_cannot_hold_is_survived(world):
    """A NUL character, half of a surrogate pair, a backslash: the row is stored, the rest of the batch too."""
    world.add_user(nights=2)
    nasty = 'a\tb\\N\n{"x"}\'é'
    world.faults(
        {
            "kind": "wrong_types",
            "endpoint": "read_session",
            "changes": {
                "peculiarities": [nasty, "nul\x00", "{,}", "NULL", ""],
                "stat.breathing_pattern": "\x00",
                "session.created_timezone": nasty,
            },
        }
    )
    assert world.sync()["failures"] == 0
    for row in world.rows("SELECT * FROM asleep.sleep_sessions"):
        assert row.peculiarities == [nasty, "{,}", "NULL", ""]
        assert row.breathing_pattern is None
        assert row.created_timezone == nasty
    payloads = world.rows("SELECT result FROM asleep.session_payloads")
    assert all(json.loads(json.dumps(row.result))["session"]["created_timezone"] == nasty for row in payloads)
