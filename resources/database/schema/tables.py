"""What analysts read: users, sessions, averages; and the raw payloads. Migrations follow, a test compares.

Lives here: structure and its comments; each index says which question it serves.  Not here: queries, views,
the tables the machine keeps for itself (`bookkeeping.py`).
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

from resources.database.schema.metadata import metadata
from resources.database.schema.session_columns import MEANS, RATIOS, Timestamp, stat_columns

_LOCAL = DateTime(timezone=False)
_NOW = func.now()


def _derived(name: str, condition: str, comment: str) -> Column[bool]:
    """Return a column that Postgres computes, so that a condition is written once; in Postgres' own normal form."""
    return Column(name, Boolean, Computed(condition, persisted=True), nullable=False, comment=comment)


users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True, comment="Id issued by Asleep; opaque, case-sensitive"),
    Column("timezone", Text, comment="Registered time zone, as `users import` was given it: IANA name or offset"),
    Column("source", Text, nullable=False, comment="How we learnt of the user: import, webhook"),
    Column("active", Boolean, nullable=False, server_default=text("true"), comment="Synced only while true"),
    Column(
        "to_be_deleted",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Asleep has scheduled this user for deletion",
    ),
    Column("registered_at", Timestamp, nullable=False, server_default=_NOW, comment="First seen here"),
    Column("last_synced_at", Timestamp, comment="Last time everything asked for this user landed"),
    Column("to_be_deleted_since", Timestamp, comment="When that was first seen; null: it is not scheduled"),
    Column("gone_at", Timestamp, comment="When it was confirmed that the user no longer exists at the source"),
    Column(
        "not_found_since",
        Timestamp,
        comment="When the API first reported the user as not found; null: the API returns the user",
    ),
    _derived("is_synced", "active AND gone_at IS NULL", "True for users that every sync includes: active and not gone"),
    comment="One row per registered user. The API cannot list users, so this registry decides who is synced.",
)

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
        "local_date",
        Date,
        nullable=False,
        comment="Calendar date of the session's start in local time (local_zone)",
    ),
    Column("local_month", Date, nullable=False, comment="First day of the month of local_date"),
    Column(
        "session_start_local",
        _LOCAL,
        nullable=False,
        comment="session_start_time as the local clock showed it",
    ),
    Column("session_end_local", _LOCAL, comment="session_end_time as the local clock showed it"),
    Column("sleep_time_local", _LOCAL, comment="sleep_time as the local clock showed it"),
    Column("wake_time_local", _LOCAL, comment="wake_time as the local clock showed it"),
    Column("last_received_seq_num", Integer, comment="Zero-based number of the last 30-second chunk received"),
    Column(
        "peculiarities",
        ARRAY(Text),
        comment="Flags of the analysis, e.g. NEVER_SLEPT, TOO_SHORT_FOR_ANALYSIS",
    ),
    Column("missing_data_ratio", Double, comment="0 to 1: share of audio that never arrived"),
    *stat_columns(),
    Column(
        "sleep_stages",
        ARRAY(SMALLINT),
        comment="One value per 30 s from session_start_time: -1 unknown, 0 wake, 1 light, 2 deep, 3 REM",
    ),
    Column("breath_stages", ARRAY(SMALLINT), comment="One value per 30 s; codes are not documented by Asleep"),
    Column("snoring_stages", ARRAY(SMALLINT), comment="One value per 30 s: 0 quiet, 1 snoring"),
    Column(
        "completed_time",
        Timestamp,
        comment="When the analysis ended, as average-stats tells; null: not asked yet",
    ),
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
        comment="What the answer held that the API's contract does not allow: place and reason, never the value",
    ),
    Column(
        "fetched_at",
        Timestamp,
        nullable=False,
        comment="When the stored answer was asked for; an older answer never overwrites a newer one",
    ),
    Column(
        "created_at",
        Timestamp,
        nullable=False,
        server_default=_NOW,
        comment="When this row was first written",
    ),
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
    Index(None, "user_id", desc("session_start_time")),
    Index(None, "user_id", "local_date"),  # a user's nights between two dates, through the view `nights`
    Index(None, "local_month", "user_id"),
    Index(None, "local_date"),  # everybody's sessions between two dates; the newest date stored
    Index(None, "created_at"),
    Index(None, "updated_at"),
    Index(
        "sleep_sessions_not_final_idx",
        "user_id",
        postgresql_where=text("deleted_at IS NULL AND NOT is_final"),
    ),
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
    comment="One row per sleep session, latest version. Times are instants (timestamptz) but for *_local.",
)

session_payloads = Table(
    "session_payloads",
    metadata,
    Column("session_id", Text, primary_key=True, comment="The session"),
    Column("result", JSON, nullable=False, comment="The API's `result`, whole and untouched"),
    Column("fetched_at", Timestamp, nullable=False, comment="When it was asked for"),
    comment="One row per session fetched in full: the raw answer. Not for analysts.",
)

monthly_averages = Table(
    "monthly_averages",
    metadata,
    Column("user_id", Text, primary_key=True, comment="The user"),
    Column(
        "month",
        Date,
        primary_key=True,
        comment="First day of the local calendar month of the sessions' start",
    ),
    Column(
        "sessions",
        Integer,
        nullable=False,
        comment="Sessions that started in the month, whatever their state",
    ),
    Column(
        "slept_sessions",
        Integer,
        nullable=False,
        comment="COMPLETE sessions with sleep; averages are over these",
    ),
    Column(
        "never_slept_sessions",
        Integer,
        nullable=False,
        comment="COMPLETE sessions in which no sleep was found",
    ),
    Column(
        "unanalysed_sessions",
        Integer,
        nullable=False,
        comment="Sessions without statistics (running, too short, …)",
    ),
    Column("nights", Integer, nullable=False, comment="Distinct local dates with a slept session"),
    *(
        Column(f"avg_{name}", Time(timezone=False), comment=f"Circular mean of the local clock time of {name}")
        for name in ("start_time", "end_time", "sleep_time", "wake_time")
    ),
    *(Column(f"avg_{name}", Double, comment=f"Mean. {meaning}") for name, meaning in MEANS),
    *(
        Column(
            f"avg_{name}",
            Double,
            comment=f"sum({over}) / sum({under}) of the sessions in which both are known",
        )
        for name, over, under in RATIOS
    ),
    Column("computed_at", Timestamp, nullable=False, server_default=_NOW, comment="When the row last changed"),
    Index(None, "month"),
    comment="One row per user and local month with sessions: averages over slept, not deleted sessions.",
)
