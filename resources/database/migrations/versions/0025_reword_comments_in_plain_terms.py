"""Reword comments in plain terms.

Revision: 0025, after 0024. Comments only: each statement locks its table for a moment, beside readers and writers.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Set the comments."""
    op.create_table_comment(
        "api_addresses",
        "One row per address from which the API has responded. A sync with a new one gives up within seconds. Not for analysts.",
        existing_comment="One row per address from which the API has answered. A sync with a new one gives up within seconds. Not for analysts.",
        schema="asleep",
    )
    op.create_table_comment(
        "event_only_sessions",
        "One row per session stored from a webhook event and not yet read from the API. Not for analysts.",
        existing_comment="One row per session stored as an event told it and not read from the API yet. Not for analysts.",
        schema="asleep",
    )
    op.alter_column(
        "notification_switch",
        "since",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="Sessions that started earlier are not notified",
        existing_comment="Sessions that started earlier are history, not news",
        existing_nullable=False,
        schema="asleep",
    )
    op.create_table_comment(
        "notification_switch",
        "One row while notifications are switched on, none otherwise. Not for analysts.",
        existing_comment="One row while notifications are wanted, none otherwise. Not for analysts.",
        schema="asleep",
    )
    op.alter_column(
        "notifications",
        "attempts",
        existing_type=sa.INTEGER(),
        comment="Number of attempts to deliver it",
        existing_comment="Times delivery was tried",
        existing_nullable=False,
        existing_server_default=sa.text("0"),
        schema="asleep",
    )
    op.alter_column(
        "notifications",
        "next_attempt_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="Not delivered again before this moment",
        existing_comment="Not tried again before",
        existing_nullable=False,
        existing_server_default=sa.text("now()"),
        schema="asleep",
    )
    op.alter_column(
        "notifications",
        "parked_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When delivery was given up; null: not given up",
        existing_comment="When we stopped trying; null: still tried",
        existing_nullable=True,
        schema="asleep",
    )
    op.alter_column(
        "notifications",
        "error",
        existing_type=sa.TEXT(),
        comment="Why the last attempt failed",
        existing_comment="Why the last try failed",
        existing_nullable=True,
        schema="asleep",
    )
    op.create_table_comment(
        "notifications",
        "One row per session that became final and is to be notified: the outbox. Not for analysts.",
        existing_comment="One row per session that became final and has to be told: the outbox. Not for analysts.",
        schema="asleep",
    )
    op.alter_column(
        "service_limits",
        "used",
        existing_type=sa.INTEGER(),
        comment="Requests accepted in the current window",
        existing_comment="Requests let through in the current window",
        existing_nullable=False,
        schema="asleep",
    )
    op.alter_column(
        "service_limits",
        "used_before",
        existing_type=sa.INTEGER(),
        comment="Requests accepted in the window before",
        existing_comment="Requests let through in the window before",
        existing_nullable=False,
        schema="asleep",
    )
    op.alter_column(
        "session_payloads",
        "fetched_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When it was requested",
        existing_comment="When it was asked for",
        existing_nullable=False,
        schema="asleep",
    )
    op.create_table_comment(
        "session_payloads",
        "One row per session fetched in full: the raw response. Not for analysts.",
        existing_comment="One row per session fetched in full: the raw answer. Not for analysts.",
        schema="asleep",
    )
    op.alter_column(
        "sleep_sessions",
        "completed_time",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When the analysis ended, according to average-stats; null: not known",
        existing_comment="When the analysis ended, as average-stats tells; null: not asked yet",
        existing_nullable=True,
        schema="asleep",
    )
    op.alter_column(
        "sleep_sessions",
        "contract_violations",
        existing_type=postgresql.ARRAY(sa.TEXT()),
        comment="What in the response violates the API's contract: place and reason, never the value",
        existing_comment="What the answer held that the API's contract does not allow: place and reason, never the value",
        existing_nullable=False,
        existing_server_default=sa.text("'{}'::text[]"),
        schema="asleep",
    )
    op.alter_column(
        "sleep_sessions",
        "fetched_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When the stored response was requested; an older response never overwrites a newer one",
        existing_comment="When the stored answer was asked for; an older answer never overwrites a newer one",
        existing_nullable=False,
        schema="asleep",
    )
    op.create_table_comment(
        "sleep_sessions",
        "One row per sleep session, latest version. Times are instants (timestamptz), except *_local.",
        existing_comment="One row per sleep session, latest version. Times are instants (timestamptz) but for *_local.",
        schema="asleep",
    )
    op.alter_column(
        "sync_failures",
        "user_id",
        existing_type=sa.TEXT(),
        comment="The user who could not be synced",
        existing_comment="Who could not be synced",
        existing_nullable=False,
        schema="asleep",
    )
    op.alter_column(
        "sync_failures",
        "raw_body",
        existing_type=postgresql.BYTEA(),
        comment="The response as received (cut at 64 KiB)",
        existing_comment="The answer as received (cut at 64 KiB)",
        existing_nullable=True,
        schema="asleep",
    )
    op.alter_column(
        "sync_failures",
        "resolved_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When a later run succeeded; null: data are missing",
        existing_comment="When it was mended; null: a hole in the data",
        existing_nullable=True,
        schema="asleep",
    )
    op.alter_column(
        "sync_ledger",
        "listed_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When the list was requested",
        existing_comment="When the list was asked for",
        existing_nullable=False,
        schema="asleep",
    )
    op.alter_column(
        "sync_ledger",
        "detail",
        existing_type=sa.TEXT(),
        comment="full or statistics: the value of SYNC_DETAIL",
        existing_comment="full or statistics: what was asked for",
        existing_nullable=False,
        schema="asleep",
    )
    op.alter_column(
        "sync_ledger",
        "covered",
        existing_type=postgresql.TSTZMULTIRANGE(),
        comment="All spans synced in full so far, each up to the moment of its list",
        existing_comment="All spans synced in full so far, each up to the moment it was listed at",
        existing_nullable=False,
        existing_server_default=sa.text("'{}'::tstzmultirange"),
        schema="asleep",
    )
    op.alter_column(
        "users",
        "timezone",
        existing_type=sa.TEXT(),
        comment="Registered time zone, as imported: IANA name or offset",
        existing_comment="Registered time zone, as `users import` was given it: IANA name or offset",
        existing_nullable=True,
        schema="asleep",
    )
    op.alter_column(
        "users",
        "source",
        existing_type=sa.TEXT(),
        comment="Where the user was registered from: import, webhook, demo",
        existing_comment="How we learnt of the user: import, webhook",
        existing_nullable=False,
        schema="asleep",
    )
    op.alter_column(
        "users",
        "registered_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When the user was registered here",
        existing_comment="First seen here",
        existing_nullable=False,
        existing_server_default=sa.text("now()"),
        schema="asleep",
    )
    op.alter_column(
        "users",
        "last_synced_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When a sync last stored everything it requested for this user",
        existing_comment="Last time everything asked for this user landed",
        existing_nullable=True,
        schema="asleep",
    )
    op.alter_column(
        "users",
        "to_be_deleted_since",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When that was first reported; null: not scheduled",
        existing_comment="When that was first seen; null: it is not scheduled",
        existing_nullable=True,
        schema="asleep",
    )
    op.alter_column(
        "webhook_events",
        "processed_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When it was processed; null: waiting",
        existing_comment="When it was handled; null: waiting",
        existing_nullable=True,
        schema="asleep",
    )
    op.alter_column(
        "webhook_events",
        "attempts",
        existing_type=sa.INTEGER(),
        comment="Number of attempts to process it",
        existing_comment="Times handling was tried",
        existing_nullable=False,
        existing_server_default=sa.text("0"),
        schema="asleep",
    )
    op.alter_column(
        "webhook_events",
        "next_attempt_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="Not processed again before this moment",
        existing_comment="Not tried again before",
        existing_nullable=False,
        existing_server_default=sa.text("now()"),
        schema="asleep",
    )
    op.alter_column(
        "webhook_events",
        "error",
        existing_type=sa.TEXT(),
        comment="Why the last attempt failed",
        existing_comment="Why the last try failed",
        existing_nullable=True,
        schema="asleep",
    )
