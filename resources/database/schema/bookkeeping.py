"""Tables of the program's own state: ledger, failures, batches, inbox, erasures. Analysts may not read them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSTZMULTIRANGE

from resources.database.schema.metadata import metadata
from resources.database.schema.session_columns import Timestamp
from resources.rate_limit.table import rate_limits_table

_NOW = func.now()

stale_months = Table(
    "stale_months",
    metadata,
    Column("user_id", Text, primary_key=True, comment="The user"),
    Column("month", Date, primary_key=True, comment="First day of the month of night_date"),
    Column("version", BigInteger, nullable=False, server_default=text("1"), comment="Counts changes while waiting"),
    comment="One row per user-month whose sessions changed since its averages were computed. Not for analysts.",
)

stale_periods = Table(
    "stale_periods",
    metadata,
    Column("user_id", Text, primary_key=True, comment="The user"),
    Column("period", Text, primary_key=True, comment="week or month"),
    Column("period_start", Date, primary_key=True, comment="First date of the period"),
    Column("version", BigInteger, Identity(), nullable=False, comment="Another number after each change"),
    comment="One row per user and period whose sessions changed since its metrics were computed. Not for analysts.",
)

sync_ledger = Table(
    "sync_ledger",
    metadata,
    Column("user_id", Text, primary_key=True, comment="The user"),
    Column("window_start", Timestamp, nullable=False, comment="Start of the window last synced in full"),
    Column("window_end", Timestamp, nullable=False, comment="End of that window, exclusive"),
    Column("listed_at", Timestamp, nullable=False, comment="When the list was requested"),
    Column("detail", Text, nullable=False, comment="full or statistics: the value of SYNC_DETAIL"),
    Column(
        "covered",
        TSTZMULTIRANGE,
        nullable=False,
        server_default=text("'{}'"),
        comment="All spans synced in full so far, each up to the moment of its list",
    ),
    comment="One row per user: the window last synced in full, and when. The cache of lists.",
)

sync_failures = Table(
    "sync_failures",
    metadata,
    Column("failure_id", BigInteger, primary_key=True, autoincrement=True, comment="Number of the failure"),
    Column("user_id", Text, nullable=False, comment="The user who could not be synced"),
    Column("session_id", Text, comment="The session that could not be read; null: the user's list"),
    Column("window_start", Timestamp, comment="Start of the window that was being synced"),
    Column("window_end", Timestamp, comment="End of that window, exclusive"),
    Column("kind", Text, nullable=False, comment="unavailable, malformed, identifier_refused, request_refused, …"),
    Column("message", Text, nullable=False, comment="What happened"),
    Column("raw_body", LargeBinary, comment="The response as received (cut at 64 KiB)"),
    Column("attempts", Integer, nullable=False, server_default=text("1"), comment="Runs in which it failed"),
    Column("first_failed_at", Timestamp, nullable=False, server_default=_NOW, comment="First time"),
    Column("last_failed_at", Timestamp, nullable=False, server_default=_NOW, comment="Last time"),
    Column("resolved_at", Timestamp, comment="When a later run succeeded; null: data are missing"),
    Index(
        "sync_failures_unresolved_idx",
        "user_id",
        text("coalesce(session_id, '')"),
        unique=True,
        postgresql_where=text("resolved_at IS NULL"),
    ),
    comment="One row per user or session that could not be synced. Unresolved rows are missing data. Not for analysts.",
)

event_only_sessions = Table(
    "event_only_sessions",
    metadata,
    Column("session_id", Text, primary_key=True, comment="The session"),
    comment="One row per session stored from a webhook event and not yet read from the API. Not for analysts.",
)

sync_batches = Table(
    "sync_batches",
    metadata,
    Column("run_id", Text, primary_key=True, comment="Dagster run"),
    Column("batch", Integer, primary_key=True, comment="Number of the batch in the run, from 0"),
    Column("batches", Integer, nullable=False, server_default=text("1"), comment="Number of batches of the run"),
    Column("window_start", Timestamp, nullable=False, comment="Start of the run's window"),
    Column("window_end", Timestamp, nullable=False, comment="End of the run's window, exclusive"),
    Column("started_at", Timestamp, nullable=False, comment="When the batch began"),
    Column("finished_at", Timestamp, comment="When the batch ended; null: running, or killed"),
    Column(
        "counts",
        JSONB,
        nullable=False,
        server_default=text("'{}'"),
        comment="users, sessions inserted/updated/unchanged/deleted, requests by kind, throttles, seconds waited",
    ),
    comment="One row per batch of a sync run: what it did. Not for analysts.",
)

api_addresses = Table(
    "api_addresses",
    metadata,
    Column("base_url", Text, primary_key=True, comment="Address of the API, as in ASLEEP_BASE_URL"),
    Column("answered_at", Timestamp, nullable=False, server_default=_NOW, comment="First response of the API"),
    comment="One row per address from which the API has responded. A sync with a new one gives up within seconds. "
    "Not for analysts.",
)

api_accounts = Table(
    "api_accounts",
    metadata,
    Column("account", Text, primary_key=True, comment="First 16 hex digits of SHA-256 over base URL and API key"),
    Column("page_rows", Integer, comment="Largest page of a list that the API is known to return; 0: not known"),
    Column("clock_ahead", Interval, comment="By how much the API's clock was ahead of the database's; null: not seen"),
    Column("averaging_formula", Text, comment="How average-stats average ratios: ratio_of_sums or mean_of_nights"),
    Column("noted_at", Timestamp, nullable=False, server_default=_NOW, comment="When this was written"),
    comment="One row per account of the API: what was learnt about it. Not for analysts.",
)

unconfirmed_lists = Table(
    "unconfirmed_lists",
    metadata,
    Column("user_id", Text, primary_key=True, comment="The user"),
    Column("window_start", Timestamp, primary_key=True, comment="Start of the window that was listed"),
    Column("window_end", Timestamp, primary_key=True, comment="End of that window, exclusive"),
    Column("run_id", Text, nullable=False, comment="The run that listed it, or that confirms it"),
    Column("rows", Integer, nullable=False, comment="Rows of the list"),
    Column("last_page_rows", Integer, nullable=False, comment="Rows of its last page"),
    Column("last_session_id", Text, nullable=False, comment="Session in its last row"),
    Column("last_start", Timestamp, comment="Latest start of a session in it"),
    comment="One row per list that was taken for whole because its last page was short, until the last batch of a run "
    "confirms the page size; and per first list of a user that was empty (rows 0), until it is read once more. Not for "
    "analysts.",
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("event_id", BigInteger, primary_key=True, autoincrement=True, comment="Number of the event"),
    Column("body_hash", LargeBinary, nullable=False, unique=True, comment="SHA-256 of the raw body: one row per body"),
    Column("headers", JSONB, nullable=False, comment="Headers received, without the key"),
    Column("body", LargeBinary, nullable=False, comment="The raw body"),
    Column("received_at", Timestamp, nullable=False, server_default=_NOW, comment="When it arrived"),
    Column("processed_at", Timestamp, comment="When it was processed; null: waiting"),
    Column("attempts", Integer, nullable=False, server_default=text("0"), comment="Number of attempts to process it"),
    Column(
        "next_attempt_at",
        Timestamp,
        nullable=False,
        server_default=_NOW,
        comment="Not processed again before this moment",
    ),
    Column("error", Text, comment="Why the last attempt failed"),
    Column(
        "must_ask",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="True once it was found that the event needs a request to the API",
    ),
    Index("webhook_events_waiting_idx", "next_attempt_at", postgresql_where=text("processed_at IS NULL")),
    comment="One row per webhook event received: the inbox. Not for analysts.",
)

erasures = Table(
    "erasures",
    metadata,
    Column("erasure_id", BigInteger, primary_key=True, autoincrement=True, comment="Number of the erasure"),
    Column("user_pseudonym", Text, nullable=False, comment="Short name of the user: asleep.pseudonym(user_id)"),
    Column("erased_at", Timestamp, nullable=False, server_default=_NOW, comment="When"),
    Column("reason", Text, nullable=False, comment="requested, gone, to_be_deleted"),
    Column("rows_removed", JSONB, nullable=False, comment="Rows removed by table"),
    comment="One row per user erased here. Holds no id in clear.",
)

pseudonym_key = Table(
    "pseudonym_key",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true"), comment="Always true: one row at most"),
    Column(
        "inner_block",
        LargeBinary,
        nullable=False,
        comment="The key of HMAC-SHA256, each byte of its 64 combined with 0x36",
    ),
    Column(
        "outer_block",
        LargeBinary,
        nullable=False,
        comment="The key of HMAC-SHA256, each byte of its 64 combined with 0x5C",
    ),
    CheckConstraint("only_row", name="is_the_only_row"),
    comment="The key of the pseudonyms. Only the owner and the pipeline may read it; it is part of every backup.",
)

first_day = Table(
    "first_day",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true"), comment="Always true: one row at most"),
    Column("day", Date, nullable=False, comment="First UTC day of session starts; it only ever moves back"),
    CheckConstraint("only_row", name="is_the_only_row"),
    comment="The first daily partition, and in its month the first monthly one. Not for analysts.",
)

rate_limits = rate_limits_table(metadata)
