"""Tables of the service: notifications to deliver and the limits of the read API. A trigger fills `notifications`."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, Table, Text, func, text

from resources.database.schema.bookkeeping import webhook_events
from resources.database.schema.metadata import metadata
from resources.database.schema.session_columns import Timestamp

_NOW = func.now()

notification_switch = Table(
    "notification_switch",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true"), comment="Always true: one row at most"),
    Column("since", Timestamp, nullable=False, comment="Sessions that started earlier are not notified"),
    CheckConstraint("only_row", name="is_the_only_row"),
    comment="One row while notifications are switched on, none otherwise. Not for analysts.",
)

notifications = Table(
    "notifications",
    metadata,
    Column("notification_id", BigInteger, primary_key=True, autoincrement=True, comment="Number of the notification"),
    Column("session_id", Text, nullable=False, comment="The session that became final"),
    Column("user_id", Text, nullable=False, comment="Whose session it is"),
    Column("became_final_at", Timestamp, nullable=False, server_default=_NOW, comment="When it became final here"),
    Column("delivered_at", Timestamp, comment="When the receiver accepted it; null: not yet"),
    Column("attempts", Integer, nullable=False, server_default=text("0"), comment="Number of attempts to deliver it"),
    Column(
        "next_attempt_at",
        Timestamp,
        nullable=False,
        server_default=_NOW,
        comment="Not delivered again before this moment",
    ),
    Column("parked_at", Timestamp, comment="When delivery was given up; null: not given up"),
    Column("error", Text, comment="Why the last attempt failed"),
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
    Column("client", Text, primary_key=True, comment="First 16 hex digits of SHA-256 over the client's key"),
    Column("scope", Text, primary_key=True, comment="Which limit: all, sessions, summary"),
    Column("window_start", Timestamp, nullable=False, comment="Start of the current window"),
    Column("used", Integer, nullable=False, comment="Requests accepted in the current window"),
    Column("used_before", Integer, nullable=False, comment="Requests accepted in the window before"),
    comment="One row per client and limit of the read API: a sliding counter that all workers share. Not for analysts.",
)

Index(
    "webhook_events_parked_idx",
    webhook_events.c.event_id,
    postgresql_where=text("processed_at IS NOT NULL AND error IS NOT NULL"),
)
"""Which events were given up? Asked by every health check."""
