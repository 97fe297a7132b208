"""Tables for those who build on the data: the change feed and former versions of sessions."""

from sqlalchemy import BigInteger, Column, Identity, Index, Table, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

from resources.database.schema.metadata import metadata
from resources.database.schema.session_columns import Timestamp

changes = Table(
    "changes",
    metadata,
    Column(
        "transaction_id",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        server_default=text("((pg_current_xact_id())::text)::bigint"),
        comment="Transaction that made the change; the first part of a reader's position",
    ),
    Column(
        "change_id",
        BigInteger,
        Identity(always=True),
        primary_key=True,
        comment="The second part of a reader's position",
    ),
    Column("changed_at", Timestamp, nullable=False, server_default=func.now(), comment="When the change was made"),
    Column(
        "kind",
        Text,
        nullable=False,
        comment="inserted, updated, deleted (at the source), erased (remove your copy), or removed (older rows are "
        "gone)",
    ),
    Column("session_id", Text, comment="The session; null for `removed`"),
    Column("user_id", Text, comment="Whose session it is; null for `erased` and `removed`"),
    comment="One row per session that a transaction changed, append-only. Read it by changes_since(), which never "
    "skips a change.",
)

session_versions = Table(
    "session_versions",
    metadata,
    Column("version_id", BigInteger, Identity(always=True), primary_key=True, comment="Number of the version"),
    Column("session_id", Text, nullable=False, comment="The session"),
    Column("user_id", Text, nullable=False, comment="Whose session it was"),
    Column("valid_from", Timestamp, nullable=False, comment="Since when the table held this version"),
    Column("valid_to", Timestamp, nullable=False, comment="When another version replaced it"),
    Column("reason", Text, nullable=False, comment="deleted, restored or reanalysed"),
    Column("content", JSONB, nullable=False, comment="The former row of sleep_sessions"),
    Index(None, "session_id", "valid_to"),
    Index(None, "user_id"),
    comment="One row per former version of a final session. Read it by sessions_as_of(). Erased with the user.",
)
