"""The tables that analysts read: users, sessions, averages, changes; raw payloads and former versions.

The migrations create what is described here, and a test compares the two.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Time,
    desc,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB, SMALLINT

from resources.database.schema.metadata import Timestamp, key, metadata, optional, required
from resources.database.schema.session_columns import (
    AS_OF,
    CLOCKS_OF_NIGHT,
    EFFICIENCY_OF_NIGHT,
    MEANS,
    MEANS_OF_NIGHT,
    NIGHT_COUNTS,
    RATIOS,
    stat_columns,
)

_LOCAL = DateTime(timezone=False)
_NOW = func.now()


def _derived(name: str, condition: str, comment: str) -> Column[bool]:
    """Return a column that Postgres computes, so that a condition is written once; in Postgres' own normal form."""
    return required(name, Boolean, comment, Computed(condition, persisted=True))


users = Table(
    "users",
    metadata,
    key("user_id", Text, "Id issued by Asleep; opaque, case-sensitive"),
    optional("timezone", Text, "Registered time zone, as imported: IANA name or offset"),
    required("source", Text, "Where the user was registered from: import, webhook, demo"),
    required("active", Boolean, "Synced only while true", server_default=text("true")),
    required("to_be_deleted", Boolean, "Asleep has scheduled this user for deletion", server_default=text("false")),
    required("registered_at", Timestamp, "When the user was registered here", server_default=_NOW),
    optional("last_synced_at", Timestamp, "When a sync last stored everything it requested for this user"),
    optional("to_be_deleted_since", Timestamp, "When that was first reported; null: not scheduled"),
    optional(
        "free_days",
        ARRAY(SMALLINT),
        "ISO weekdays without work, 1 Monday to 7 Sunday, for social jetlag; null: Saturday and Sunday",
    ),
    optional("gone_at", Timestamp, "When it was confirmed that the user no longer exists at the source"),
    optional(
        "not_found_since",
        Timestamp,
        "When the API first reported the user as not found; null: the API returns the user",
    ),
    _derived("is_synced", "active AND gone_at IS NULL", "True for users that every sync includes: active and not gone"),
    Index("users_hash_idx", text("hashtextextended(user_id, 0)")),
    comment="One row per registered user. The API cannot list users, so this registry decides who is synced.",
)

DOUBTFUL = """
coalesce('TOO_LONG_FOR_ANALYSIS'::text = ANY (peculiarities), FALSE)
OR coalesce(session_end_time - session_start_time > '24:00:00'::interval, FALSE)
"""


def _awakening(local: bool) -> str:
    """The last awakening where it fits the session, else the end, else the start."""
    wake, end, start = (
        ("wake_time_local", "session_end_local", "session_start_local")
        if local
        else ("wake_time", "session_end_time", "session_start_time")
    )
    return (
        "CASE WHEN wake_time > session_start_time AND wake_time <= session_end_time "
        f"THEN {wake} ELSE coalesce({end}, {start}) END"
    )


ASLEEP_UNTIL, ASLEEP_UNTIL_LOCAL = _awakening(local=False), _awakening(local=True)
OWN_NIGHT_DATE = (
    f"CASE WHEN {DOUBTFUL} THEN session_start_local + interval '12 hours' ELSE {ASLEEP_UNTIL_LOCAL} END::date"
)
"""The night of a session that belongs to no episode: of its last awakening; a doubtful one, of the evening it began."""
_ONSET_FITS = f"sleep_time >= session_start_time AND sleep_time < {ASLEEP_UNTIL}"
_ASLEEP_FROM = f"CASE WHEN {_ONSET_FITS} THEN sleep_time ELSE session_start_time END"
_ASLEEP_FROM_LOCAL = f"CASE WHEN {_ONSET_FITS} THEN sleep_time_local ELSE session_start_local END"


def _computed(expression: str) -> Computed:
    return Computed(expression.strip(), persisted=True)


sleep_sessions = Table(
    "sleep_sessions",
    metadata,
    key("session_id", Text, "Id issued by Asleep; opaque, case-sensitive"),
    required("user_id", Text, "Whose session it is"),
    required("state", Text, "OPEN (running), CLOSED (being analysed), COMPLETE"),
    required("session_start_time", Timestamp, "Start of tracking"),
    optional("session_end_time", Timestamp, "End of tracking; null while OPEN"),
    optional("unexpected_end_time", Timestamp, "Set when the session was not closed in the normal way"),
    optional("created_timezone", Text, "Zone of the phone when the session was made, as the API gives it"),
    required(
        "local_zone",
        Text,
        "Zone by which local times are computed: a name of the zone database, or an offset as +09:00",
        server_default="UTC",
    ),
    required(
        "zone_source",
        Text,
        "Where local_zone comes from: own (created_timezone), offset (in its text), earlier or later (nearest "
        "session of the user that has one), registered (users.timezone), utc (none of them)",
        server_default="utc",
    ),
    required("local_date", Date, "Calendar date of the session's start in local time (local_zone)"),
    required("local_month", Date, "First day of the month of local_date"),
    required("session_start_local", _LOCAL, "session_start_time as the local clock showed it"),
    optional("session_end_local", _LOCAL, "session_end_time as the local clock showed it"),
    optional("sleep_time_local", _LOCAL, "sleep_time as the local clock showed it"),
    optional("wake_time_local", _LOCAL, "wake_time as the local clock showed it"),
    optional("last_received_seq_num", Integer, "Zero-based number of the last 30-second chunk received"),
    optional("peculiarities", ARRAY(Text), "Flags of the analysis, e.g. NEVER_SLEPT, TOO_SHORT_FOR_ANALYSIS"),
    optional("missing_data_ratio", Double, "0 to 1: share of audio that never arrived"),
    *stat_columns(),
    optional(
        "sleep_stages",
        ARRAY(SMALLINT),
        "One value per 30 s from session_start_time: -1 unknown, 0 wake, 1 light, 2 deep, 3 REM",
    ),
    optional("breath_stages", ARRAY(SMALLINT), "One value per 30 s; codes are not documented by Asleep"),
    optional("snoring_stages", ARRAY(SMALLINT), "One value per 30 s: 0 quiet, 1 snoring"),
    optional("completed_time", Timestamp, "When the analysis ended, according to average-stats; null: not known"),
    optional(
        "payload_hash", LargeBinary, "Fingerprint of the raw result; null while only list row or statistics are known"
    ),
    required(
        "contract_violations",
        ARRAY(Text),
        "What in the response violates the API's contract: place and reason, never the value",
        server_default=text("'{}'"),
    ),
    required(
        "fetched_at",
        Timestamp,
        "When the stored response was requested; an older response never overwrites a newer one",
    ),
    required("created_at", Timestamp, "When this row was first written", server_default=_NOW),
    required("updated_at", Timestamp, "When this row last changed", server_default=_NOW),
    optional("deleted_at", Timestamp, "When the session was found deleted at the source; null: it exists"),
    optional(
        "deletion_checked_at",
        Timestamp,
        "When a session marked as deleted was requested once more, at least 20 hours later; null: not yet",
    ),
    _derived(
        "slept",
        "COALESCE(state = 'COMPLETE'::text AND deleted_at IS NULL AND time_in_sleep > 0 "
        "AND NOT COALESCE('NEVER_SLEPT'::text = ANY (peculiarities), false), false)",
        "True for a COMPLETE session with sleep that still exists: nights and averages are over these",
    ),
    _derived(
        "never_slept",
        "state = 'COMPLETE'::text AND deleted_at IS NULL "
        "AND COALESCE('NEVER_SLEPT'::text = ANY (peculiarities) OR time_in_sleep = 0, false)",
        "True for a COMPLETE session in which no sleep was found, and that still exists",
    ),
    _derived(
        "is_final",
        "state = 'COMPLETE'::text AND payload_hash IS NOT NULL",
        "True when the session was read in full after its analysis: it is read again only to verify it",
    ),
    _derived(
        "has_result",
        "state = 'COMPLETE'::text AND (payload_hash IS NOT NULL OR completed_time IS NOT NULL)",
        "True when the analysis has ended and its result is stored, in full or as statistics",
    ),
    required(
        "doubtful", Boolean, "TOO_LONG_FOR_ANALYSIS, or longer than 24 hours: belongs to no night", _computed(DOUBTFUL)
    ),
    optional(
        "asleep_from",
        Timestamp,
        "Start of the sleep period: sleep_time where it lies in the session, else the session's start",
        _computed(_ASLEEP_FROM),
    ),
    optional(
        "asleep_until",
        Timestamp,
        "Last awakening: wake_time where it lies in the session, else the session's end, else its start",
        _computed(ASLEEP_UNTIL),
    ),
    optional("asleep_from_local", _LOCAL, "asleep_from on the local clock", _computed(_ASLEEP_FROM_LOCAL)),
    optional("asleep_until_local", _LOCAL, "asleep_until on the local clock", _computed(ASLEEP_UNTIL_LOCAL)),
    required(
        "night_date",
        Date,
        "Date of the night: local date of the last awakening of the session's sleep episode. Of a session that "
        "belongs to none: of its own last awakening; doubtful: of the night, noon to noon, in which it began",
    ),
    optional(
        "night_month",
        Date,
        "First day of the month of night_date",
        _computed("date_trunc('month'::text, night_date::timestamp without time zone)::date"),
    ),
    optional(
        "episode_id",
        Text,
        "First session of the sleep episode: sessions less than 60 minutes apart are one. Null: not slept, "
        "doubtful or overlapping",
    ),
    optional("episode_sessions", Integer, "Sessions of that episode"),
    optional(
        "night_role",
        Text,
        "main: part of the longest episode of the user's date. nap: part of another. overlapping: shares more "
        "than 15 minutes with a longer one. doubtful: see there. Null: no sleep. The last three belong to no night",
    ),
    Index(None, "user_id", desc("session_start_time")),
    Index(None, "user_id", "local_date"),  # a user's nights between two dates, through the view `nights`
    Index(None, "user_id", "night_date"),  # a user's nights between two dates, through the view `nights`
    Index(None, "night_month", "user_id"),  # averages of a user-month
    Index("sleep_sessions_unassigned_idx", "user_id", postgresql_where=text("slept AND night_role IS NULL")),
    Index(
        "sleep_sessions_beside_single_nights_idx",  # averages of a user-month: what is no main sleep in one session
        "user_id",
        "night_month",
        postgresql_where=text("deleted_at IS NULL AND (night_role IS DISTINCT FROM 'main' OR episode_sessions > 1)"),
    ),
    Index(None, "local_date"),  # everybody's sessions between two dates; the newest date stored
    Index(None, "created_at"),
    Index(None, "updated_at"),
    Index("sleep_sessions_not_final_idx", "user_id", postgresql_where=text("deleted_at IS NULL AND NOT is_final")),
    Index(
        "sleep_sessions_borrowed_zone_idx",  # sessions whose zone follows from their neighbours
        "user_id",
        postgresql_where=text("deleted_at IS NULL AND zone_source NOT IN ('own', 'offset')"),
    ),
    Index(
        "sleep_sessions_deletion_unchecked_idx",
        "user_id",
        postgresql_where=text("deleted_at IS NOT NULL AND deletion_checked_at IS NULL"),
    ),
    CheckConstraint(
        "zone_source IN ('own', 'offset', 'earlier', 'later', 'registered', 'utc')", name="zone_source_is_known"
    ),
    CheckConstraint("local_month = date_trunc('month', local_date)::date", name="local_month_is_of_local_date"),
    CheckConstraint("night_role IN ('main', 'nap', 'doubtful', 'overlapping')", name="night_role_is_known"),
    CheckConstraint(
        "(episode_id IS NOT NULL) = coalesce(night_role IN ('main', 'nap'), FALSE)", name="episodes_are_nights"
    ),
    comment="One row per sleep session, latest version. Times are instants (timestamptz), except *_local.",
)

session_payloads = Table(
    "session_payloads",
    metadata,
    key("session_id", Text, "The session"),
    required("result", JSON, "The API's `result`, whole and untouched"),
    required("fetched_at", Timestamp, "When it was requested"),
    comment="One row per session fetched in full: the raw response. Not for analysts.",
)

monthly_averages = Table(
    "monthly_averages",
    metadata,
    key("user_id", Text, "The user"),
    key("month", Date, "First day of the month of the nights (night_month): a night belongs to the date of waking up"),
    required("sessions", Integer, "Sessions whose night is in the month, whatever their state"),
    required("slept_sessions", Integer, "COMPLETE sessions with sleep; averages are over these"),
    required("never_slept_sessions", Integer, "COMPLETE sessions in which no sleep was found"),
    required("unanalysed_sessions", Integer, "Sessions without statistics (running, too short, …)"),
    required("doubtful_sessions", Integer, "Longer than 24 hours with sleep found: in no night"),
    required(
        "overlapping_sessions", Integer, "Slept sessions that share more than 15 minutes with a longer one: in no night"
    ),
    required("is_complete", Boolean, "The month's last date lies before as_of"),
    required("as_of", Date, AS_OF),
    required("nights", Integer, "Dates with a main sleep (status recorded in night_calendar)"),
    *(required(name, Integer, meaning) for name, meaning in NIGHT_COUNTS),
    optional("coverage", Double, "nights / days; null when no date has passed yet"),
    required("naps", Integer, "Sleep episodes beside the main sleep of their date, which is longer"),
    *(
        optional(f"avg_{name}", Time(timezone=False), f"Circular mean of the local clock time of {name}")
        for name in ("start_time", "end_time", "sleep_time", "wake_time")
    ),
    *(optional(f"avg_{name}", Double, f"Mean. {meaning}") for name, meaning in MEANS),
    *(
        optional(f"avg_{name}", Double, f"sum({over}) / sum({under}) of the sessions in which both are known")
        for name, over, under in RATIOS
    ),
    *(optional(f"avg_{name}", Double, f"Mean. {meaning}") for name, meaning in MEANS_OF_NIGHT),
    *(
        optional(f"avg_{name}_of_night", Time(timezone=False), f"Circular mean over valid nights. {meaning}")
        for name, meaning in CLOCKS_OF_NIGHT
    ),
    optional("avg_efficiency_of_night", Double, EFFICIENCY_OF_NIGHT),
    required("computed_at", Timestamp, "When the row last changed", server_default=_NOW),
    Index(None, "month"),
    Index("monthly_averages_running_idx", "as_of", postgresql_where=text("NOT is_complete")),
    Index("monthly_averages_not_synced_idx", "user_id", postgresql_where=text("not_synced_nights > 0")),
    comment="One row per user and month with sessions. avg_ columns run over slept sessions as the API computes them; "
    "those that end in _of_night or _of_date run over valid nights, which are main sleeps of at least 3 hours in bed "
    "with at most a fifth of the audio missing.",
)

changes = Table(
    "changes",
    metadata,
    key(
        "transaction_id",
        BigInteger,
        "Transaction that made the change; the first part of a reader's position",
        autoincrement=False,
        server_default=text("((pg_current_xact_id())::text)::bigint"),
    ),
    key("change_id", BigInteger, "The second part of a reader's position", Identity(always=True)),
    required("changed_at", Timestamp, "When the change was made", server_default=_NOW),
    required(
        "kind",
        Text,
        "inserted, updated, deleted (at the source), erased (remove your copy), or removed (older rows are gone)",
    ),
    optional("session_id", Text, "The session; null for `removed`"),
    optional("user_id", Text, "Whose session it is; null for `erased` and `removed`"),
    comment="One row per session that a transaction changed, append-only. Read it by changes_since(), which never "
    "skips a change.",
)

session_versions = Table(
    "session_versions",
    metadata,
    key("version_id", BigInteger, "Number of the version", Identity(always=True)),
    required("session_id", Text, "The session"),
    required("user_id", Text, "Whose session it was"),
    required("valid_from", Timestamp, "Since when the table held this version"),
    required("valid_to", Timestamp, "When another version replaced it"),
    required("reason", Text, "deleted, restored or reanalysed"),
    required("content", JSONB, "The former row of sleep_sessions"),
    Index(None, "session_id", "valid_to"),
    Index(None, "user_id"),
    comment="One row per former version of a final session. Read it by sessions_as_of(). Erased with the user.",
)
