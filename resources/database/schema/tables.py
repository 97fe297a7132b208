"""The tables that analysts read: users, sessions, averages, metrics; and the raw payloads.

The migrations create what is described here, and a test compares the two.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Double,
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
from sqlalchemy.dialects.postgresql import ARRAY, JSON, SMALLINT

from resources.database.schema import metrics_table
from resources.database.schema.metadata import metadata
from resources.database.schema.session_columns import (
    AS_OF,
    CLOCKS_OF_NIGHT,
    EFFICIENCY_OF_NIGHT,
    MEANS,
    MEANS_OF_NIGHT,
    NIGHT_COUNTS,
    RATIOS,
    Timestamp,
    stat_columns,
)

_LOCAL = DateTime(timezone=False)
_NOW = func.now()


def _derived(name: str, condition: str, comment: str) -> Column[bool]:
    """Return a column that Postgres computes, so that a condition is written once; in Postgres' own normal form."""
    return Column(name, Boolean, Computed(condition, persisted=True), nullable=False, comment=comment)


users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True, comment="Id issued by Asleep; opaque, case-sensitive"),
    Column("timezone", Text, comment="Registered time zone, as imported: IANA name or offset"),
    Column("source", Text, nullable=False, comment="Where the user was registered from: import, webhook, demo"),
    Column("active", Boolean, nullable=False, server_default=text("true"), comment="Synced only while true"),
    Column(
        "to_be_deleted",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Asleep has scheduled this user for deletion",
    ),
    Column(
        "registered_at", Timestamp, nullable=False, server_default=_NOW, comment="When the user was registered here"
    ),
    Column("last_synced_at", Timestamp, comment="When a sync last stored everything it requested for this user"),
    Column("to_be_deleted_since", Timestamp, comment="When that was first reported; null: not scheduled"),
    Column(
        "free_days",
        ARRAY(SMALLINT),
        comment="ISO weekdays without work, 1 Monday to 7 Sunday, for social jetlag; null: Saturday and Sunday",
    ),
    Column("gone_at", Timestamp, comment="When it was confirmed that the user no longer exists at the source"),
    Column(
        "not_found_since",
        Timestamp,
        comment="When the API first reported the user as not found; null: the API returns the user",
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
    Column("session_id", Text, primary_key=True, comment="Id issued by Asleep; opaque, case-sensitive"),
    Column("user_id", Text, nullable=False, comment="Whose session it is"),
    Column("state", Text, nullable=False, comment="OPEN (running), CLOSED (being analysed), COMPLETE"),
    Column("session_start_time", Timestamp, nullable=False, comment="Start of tracking"),
    Column("session_end_time", Timestamp, comment="End of tracking; null while OPEN"),
    Column("unexpected_end_time", Timestamp, comment="Set when the session was not closed in the normal way"),
    Column("created_timezone", Text, comment="Zone of the phone when the session was made, as the API gives it"),
    Column(
        "local_zone",
        Text,
        nullable=False,
        server_default="UTC",
        comment="Zone by which local times are computed: a name of the zone database, or an offset as +09:00",
    ),
    Column(
        "zone_source",
        Text,
        nullable=False,
        server_default="utc",
        comment="Where local_zone comes from: own (created_timezone), offset (in its text), earlier or later (nearest "
        "session of the user that has one), registered (users.timezone), utc (none of them)",
    ),
    Column(
        "local_date", Date, nullable=False, comment="Calendar date of the session's start in local time (local_zone)"
    ),
    Column("local_month", Date, nullable=False, comment="First day of the month of local_date"),
    Column("session_start_local", _LOCAL, nullable=False, comment="session_start_time as the local clock showed it"),
    Column("session_end_local", _LOCAL, comment="session_end_time as the local clock showed it"),
    Column("sleep_time_local", _LOCAL, comment="sleep_time as the local clock showed it"),
    Column("wake_time_local", _LOCAL, comment="wake_time as the local clock showed it"),
    Column("last_received_seq_num", Integer, comment="Zero-based number of the last 30-second chunk received"),
    Column("peculiarities", ARRAY(Text), comment="Flags of the analysis, e.g. NEVER_SLEPT, TOO_SHORT_FOR_ANALYSIS"),
    Column("missing_data_ratio", Double, comment="0 to 1: share of audio that never arrived"),
    *stat_columns(),
    Column(
        "sleep_stages",
        ARRAY(SMALLINT),
        comment="One value per 30 s from session_start_time: -1 unknown, 0 wake, 1 light, 2 deep, 3 REM",
    ),
    Column("breath_stages", ARRAY(SMALLINT), comment="One value per 30 s; codes are not documented by Asleep"),
    Column("snoring_stages", ARRAY(SMALLINT), comment="One value per 30 s: 0 quiet, 1 snoring"),
    Column("completed_time", Timestamp, comment="When the analysis ended, according to average-stats; null: not known"),
    Column(
        "payload_hash",
        LargeBinary,
        comment="Fingerprint of the raw result; null while only list row or statistics are known",
    ),
    Column(
        "contract_violations",
        ARRAY(Text),
        nullable=False,
        server_default=text("'{}'"),
        comment="What in the response violates the API's contract: place and reason, never the value",
    ),
    Column(
        "fetched_at",
        Timestamp,
        nullable=False,
        comment="When the stored response was requested; an older response never overwrites a newer one",
    ),
    Column("created_at", Timestamp, nullable=False, server_default=_NOW, comment="When this row was first written"),
    Column("updated_at", Timestamp, nullable=False, server_default=_NOW, comment="When this row last changed"),
    Column("deleted_at", Timestamp, comment="When the session was found deleted at the source; null: it exists"),
    Column(
        "deletion_checked_at",
        Timestamp,
        comment="When a session marked as deleted was requested once more, at least 20 hours later; null: not yet",
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
    Column(
        "doubtful",
        Boolean,
        _computed(DOUBTFUL),
        nullable=False,
        comment="TOO_LONG_FOR_ANALYSIS, or longer than 24 hours: belongs to no night",
    ),
    Column(
        "asleep_from",
        Timestamp,
        _computed(_ASLEEP_FROM),
        comment="Start of the sleep period: sleep_time where it lies in the session, else the session's start",
    ),
    Column(
        "asleep_until",
        Timestamp,
        _computed(ASLEEP_UNTIL),
        comment="Last awakening: wake_time where it lies in the session, else the session's end, else its start",
    ),
    Column("asleep_from_local", _LOCAL, _computed(_ASLEEP_FROM_LOCAL), comment="asleep_from on the local clock"),
    Column("asleep_until_local", _LOCAL, _computed(ASLEEP_UNTIL_LOCAL), comment="asleep_until on the local clock"),
    Column(
        "night_date",
        Date,
        nullable=False,
        comment="Date of the night: local date of the last awakening of the session's sleep episode. Of a session that "
        "belongs to none: of its own last awakening; doubtful: of the night, noon to noon, in which it began",
    ),
    Column(
        "night_month",
        Date,
        _computed("date_trunc('month'::text, night_date::timestamp without time zone)::date"),
        comment="First day of the month of night_date",
    ),
    Column(
        "episode_id",
        Text,
        comment="First session of the sleep episode: sessions less than 60 minutes apart are one. Null: not slept, "
        "doubtful or overlapping",
    ),
    Column("episode_sessions", Integer, comment="Sessions of that episode"),
    Column(
        "night_role",
        Text,
        comment="main: part of the longest episode of the user's date. nap: part of another. overlapping: shares more "
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
    Column("session_id", Text, primary_key=True, comment="The session"),
    Column("result", JSON, nullable=False, comment="The API's `result`, whole and untouched"),
    Column("fetched_at", Timestamp, nullable=False, comment="When it was requested"),
    comment="One row per session fetched in full: the raw response. Not for analysts.",
)

monthly_averages = Table(
    "monthly_averages",
    metadata,
    Column("user_id", Text, primary_key=True, comment="The user"),
    Column(
        "month",
        Date,
        primary_key=True,
        comment="First day of the month of the nights (night_month): a night belongs to the date of waking up",
    ),
    Column("sessions", Integer, nullable=False, comment="Sessions whose night is in the month, whatever their state"),
    Column("slept_sessions", Integer, nullable=False, comment="COMPLETE sessions with sleep; averages are over these"),
    Column("never_slept_sessions", Integer, nullable=False, comment="COMPLETE sessions in which no sleep was found"),
    Column(
        "unanalysed_sessions", Integer, nullable=False, comment="Sessions without statistics (running, too short, …)"
    ),
    Column("doubtful_sessions", Integer, nullable=False, comment="Longer than 24 hours with sleep found: in no night"),
    Column(
        "overlapping_sessions",
        Integer,
        nullable=False,
        comment="Slept sessions that share more than 15 minutes with a longer one: in no night",
    ),
    Column("is_complete", Boolean, nullable=False, comment="The month's last date lies before as_of"),
    Column("as_of", Date, nullable=False, comment=AS_OF),
    Column("nights", Integer, nullable=False, comment="Dates with a main sleep (status recorded in night_calendar)"),
    *(Column(name, Integer, nullable=False, comment=meaning) for name, meaning in NIGHT_COUNTS),
    Column("coverage", Double, comment="nights / days; null when no date has passed yet"),
    Column(
        "naps", Integer, nullable=False, comment="Sleep episodes beside the main sleep of their date, which is longer"
    ),
    *(
        Column(f"avg_{name}", Time(timezone=False), comment=f"Circular mean of the local clock time of {name}")
        for name in ("start_time", "end_time", "sleep_time", "wake_time")
    ),
    *(Column(f"avg_{name}", Double, comment=f"Mean. {meaning}") for name, meaning in MEANS),
    *(
        Column(f"avg_{name}", Double, comment=f"sum({over}) / sum({under}) of the sessions in which both are known")
        for name, over, under in RATIOS
    ),
    *(Column(f"avg_{name}", Double, comment=f"Mean. {meaning}") for name, meaning in MEANS_OF_NIGHT),
    *(
        Column(f"avg_{name}_of_night", Time(timezone=False), comment=f"Circular mean over valid nights. {meaning}")
        for name, meaning in CLOCKS_OF_NIGHT
    ),
    Column("avg_efficiency_of_night", Double, comment=EFFICIENCY_OF_NIGHT),
    Column("computed_at", Timestamp, nullable=False, server_default=_NOW, comment="When the row last changed"),
    Index(None, "month"),
    Index("monthly_averages_running_idx", "as_of", postgresql_where=text("NOT is_complete")),
    Index("monthly_averages_not_synced_idx", "user_id", postgresql_where=text("not_synced_nights > 0")),
    comment="One row per user and month with sessions. avg_ columns run over slept sessions as the API computes them; "
    "those that end in _of_night or _of_date run over valid nights, which are main sleeps of at least 3 hours in bed "
    "with at most a fifth of the audio missing.",
)

sleep_metrics = metrics_table.sleep_metrics
