"""Tables of the program's own state: ledger, failures, batches, inbox, outbox, erasures. Not for analysts."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
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

from resources.database.schema.metadata import Timestamp, key, metadata, optional, required
from resources.rate_limit.table import rate_limits_table

_NOW = func.now()

stale_months = Table(
    "stale_months",
    metadata,
    key("user_id", Text, "The user"),
    key("month", Date, "First day of the month of night_date"),
    required("version", BigInteger, "Counts changes while waiting", server_default=text("1")),
    comment="One row per user-month whose sessions changed since its averages were computed. Not for analysts.",
)

stale_periods = Table(
    "stale_periods",
    metadata,
    key("user_id", Text, "The user"),
    key("period", Text, "week or month"),
    key("period_start", Date, "First date of the period"),
    required("version", BigInteger, "Another number after each change", Identity()),
    comment="One row per user and period whose sessions changed since its metrics were computed. Not for analysts.",
)

sync_ledger = Table(
    "sync_ledger",
    metadata,
    key("user_id", Text, "The user"),
    required("window_start", Timestamp, "Start of the window last synced in full"),
    required("window_end", Timestamp, "End of that window, exclusive"),
    required("listed_at", Timestamp, "When the list was requested"),
    required("detail", Text, "full or statistics: the value of SYNC_DETAIL"),
    required(
        "covered",
        TSTZMULTIRANGE,
        "All spans synced in full so far, each up to the moment of its list",
        server_default=text("'{}'"),
    ),
    comment="One row per user: the window last synced in full, and when. The cache of lists.",
)

sync_failures = Table(
    "sync_failures",
    metadata,
    key("failure_id", BigInteger, "Number of the failure", autoincrement=True),
    required("user_id", Text, "The user who could not be synced"),
    optional("session_id", Text, "The session that could not be read; null: the user's list"),
    optional("window_start", Timestamp, "Start of the window that was being synced"),
    optional("window_end", Timestamp, "End of that window, exclusive"),
    required("kind", Text, "unavailable, malformed, identifier_refused, request_refused, …"),
    required("message", Text, "What happened"),
    optional("raw_body", LargeBinary, "The response as received (cut at 64 KiB)"),
    required("attempts", Integer, "Runs in which it failed", server_default=text("1")),
    required("first_failed_at", Timestamp, "First time", server_default=_NOW),
    required("last_failed_at", Timestamp, "Last time", server_default=_NOW),
    optional("resolved_at", Timestamp, "When a later run succeeded; null: data are missing"),
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
    key("session_id", Text, "The session"),
    comment="One row per session stored from a webhook event and not yet read from the API. Not for analysts.",
)

sync_batches = Table(
    "sync_batches",
    metadata,
    key("run_id", Text, "Dagster run"),
    key("batch", Integer, "Number of the batch in the run, from 0"),
    required("batches", Integer, "Number of batches of the run", server_default=text("1")),
    required("window_start", Timestamp, "Start of the run's window"),
    required("window_end", Timestamp, "End of the run's window, exclusive"),
    required("started_at", Timestamp, "When the batch began"),
    optional("finished_at", Timestamp, "When the batch ended; null: running, or killed"),
    required(
        "counts",
        JSONB,
        "users, sessions inserted/updated/unchanged/deleted, requests by kind, throttles, seconds waited",
        server_default=text("'{}'"),
    ),
    comment="One row per batch of a sync run: what it did. Not for analysts.",
)

api_addresses = Table(
    "api_addresses",
    metadata,
    key("base_url", Text, "Address of the API, as in ASLEEP_BASE_URL"),
    required("answered_at", Timestamp, "First response of the API", server_default=_NOW),
    comment="One row per address from which the API has responded. A sync with a new one gives up within seconds. "
    "Not for analysts.",
)

api_accounts = Table(
    "api_accounts",
    metadata,
    key("account", Text, "First 16 hex digits of SHA-256 over base URL and API key"),
    optional("page_rows", Integer, "Largest page of a list that the API is known to return; 0: not known"),
    optional("clock_ahead", Interval, "By how much the API's clock was ahead of the database's; null: not seen"),
    optional("averaging_formula", Text, "How average-stats average ratios: ratio_of_sums or mean_of_nights"),
    required("noted_at", Timestamp, "When this was written", server_default=_NOW),
    comment="One row per account of the API: what was learnt about it. Not for analysts.",
)

unconfirmed_lists = Table(
    "unconfirmed_lists",
    metadata,
    key("user_id", Text, "The user"),
    key("window_start", Timestamp, "Start of the window that was listed"),
    key("window_end", Timestamp, "End of that window, exclusive"),
    required("run_id", Text, "The run that listed it, or that confirms it"),
    required("rows", Integer, "Rows of the list"),
    required("last_page_rows", Integer, "Rows of its last page"),
    required("last_session_id", Text, "Session in its last row"),
    optional("last_start", Timestamp, "Latest start of a session in it"),
    comment="One row per list that was taken for whole because its last page was short, until the last batch of a run "
    "confirms the page size; and per first list of a user that was empty (rows 0), until it is read once more. Not for "
    "analysts.",
)

webhook_events = Table(
    "webhook_events",
    metadata,
    key("event_id", BigInteger, "Number of the event", autoincrement=True),
    required("body_hash", LargeBinary, "SHA-256 of the raw body: one row per body", unique=True),
    required("headers", JSONB, "Headers received, without the key"),
    required("body", LargeBinary, "The raw body"),
    required("received_at", Timestamp, "When it arrived", server_default=_NOW),
    optional("processed_at", Timestamp, "When it was processed; null: waiting"),
    required("attempts", Integer, "Number of attempts to process it", server_default=text("0")),
    required("next_attempt_at", Timestamp, "Not processed again before this moment", server_default=_NOW),
    optional("error", Text, "Why the last attempt failed"),
    required(
        "must_ask",
        Boolean,
        "True once it was found that the event needs a request to the API",
        server_default=text("false"),
    ),
    Index(
        "webhook_events_parked_idx",
        "event_id",  # those given up, for every health check
        postgresql_where=text("processed_at IS NOT NULL AND error IS NOT NULL"),
    ),
    Index("webhook_events_waiting_idx", "next_attempt_at", postgresql_where=text("processed_at IS NULL")),
    comment="One row per webhook event received: the inbox. Not for analysts.",
)

notification_switch = Table(
    "notification_switch",
    metadata,
    key("only_row", Boolean, "Always true: one row at most", server_default=text("true")),
    required("since", Timestamp, "Sessions that started earlier are not notified"),
    CheckConstraint("only_row", name="is_the_only_row"),
    comment="One row while notifications are switched on, none otherwise. Not for analysts.",
)

notifications = Table(
    "notifications",
    metadata,
    key("notification_id", BigInteger, "Number of the notification", autoincrement=True),
    required("session_id", Text, "The session that became final"),
    required("user_id", Text, "Whose session it is"),
    required("became_final_at", Timestamp, "When it became final here", server_default=_NOW),
    optional("delivered_at", Timestamp, "When the receiver accepted it; null: not yet"),
    required("attempts", Integer, "Number of attempts to deliver it", server_default=text("0")),
    required("next_attempt_at", Timestamp, "Not delivered again before this moment", server_default=_NOW),
    optional("parked_at", Timestamp, "When delivery was given up; null: not given up"),
    optional("error", Text, "Why the last attempt failed"),
    Index(
        "notifications_waiting_idx",
        "next_attempt_at",
        postgresql_where=text("delivered_at IS NULL AND parked_at IS NULL"),
    ),
    Index("notifications_parked_idx", "notification_id", postgresql_where=text("parked_at IS NOT NULL")),
    Index(None, "user_id"),
    comment="One row per session that became final and is to be notified: the outbox. Not for analysts.",
)

service_limits = Table(
    "service_limits",
    metadata,
    key("client", Text, "First 16 hex digits of SHA-256 over the client's key"),
    key("scope", Text, "Which limit: all, sessions, summary"),
    required("window_start", Timestamp, "Start of the current window"),
    required("used", Integer, "Requests accepted in the current window"),
    required("used_before", Integer, "Requests accepted in the window before"),
    comment="One row per client and limit of the read API: a sliding counter that all workers share. Not for analysts.",
)

erasures = Table(
    "erasures",
    metadata,
    key("erasure_id", BigInteger, "Number of the erasure", autoincrement=True),
    required("user_pseudonym", Text, "Short name of the user: asleep.pseudonym(user_id)"),
    required("erased_at", Timestamp, "When", server_default=_NOW),
    required("reason", Text, "requested, gone, to_be_deleted"),
    required("rows_removed", JSONB, "Rows removed by table"),
    comment="One row per user erased here. Holds no id in clear.",
)

pseudonym_key = Table(
    "pseudonym_key",
    metadata,
    key("only_row", Boolean, "Always true: one row at most", server_default=text("true")),
    required("inner_block", LargeBinary, "The key of HMAC-SHA256, each byte of its 64 combined with 0x36"),
    required("outer_block", LargeBinary, "The key of HMAC-SHA256, each byte of its 64 combined with 0x5C"),
    CheckConstraint("only_row", name="is_the_only_row"),
    comment="The key of the pseudonyms. Only the owner and the pipeline may read it; it is part of every backup.",
)

first_day = Table(
    "first_day",
    metadata,
    key("only_row", Boolean, "Always true: one row at most", server_default=text("true")),
    required("day", Date, "First UTC day of session starts; it only ever moves back"),
    CheckConstraint("only_row", name="is_the_only_row"),
    comment="The first daily partition, and in its month the first monthly one. Not for analysts.",
)

rate_limits = rate_limits_table(metadata)
