"""The change feed and former versions of sessions, both kept by triggers.

Revision: 0015, after 0014. Creating the triggers blocks writers of `sleep_sessions` for a moment.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_NOTE_CHANGES = """
CREATE FUNCTION asleep.note_changes() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO asleep.changes (kind, session_id, user_id)
        SELECT 'inserted', session_id, user_id FROM new_rows ORDER BY session_id;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO asleep.changes (kind, session_id, user_id)
        SELECT
            CASE WHEN n.deleted_at IS NOT NULL AND o.deleted_at IS NULL THEN 'deleted' ELSE 'updated' END,
            n.session_id,
            n.user_id
        FROM new_rows AS n
        INNER JOIN old_rows AS o ON o.session_id = n.session_id
        ORDER BY n.session_id;
    ELSE
        DELETE FROM asleep.session_versions WHERE session_id IN (SELECT session_id FROM old_rows);
        DELETE FROM asleep.changes WHERE session_id IN (SELECT session_id FROM old_rows);
        INSERT INTO asleep.changes (kind, session_id)
        SELECT 'erased', session_id FROM old_rows ORDER BY session_id;
    END IF;
    IF FOUND THEN
        PERFORM pg_notify('asleep_changes', '');
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION asleep.note_changes() IS
    'One row in changes for each changed session, and NOTIFY asleep_changes, in the transaction that changed it.'
"""

_KEEP_VERSION = """
CREATE FUNCTION asleep.keep_version() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO asleep.session_versions (session_id, user_id, valid_from, valid_to, reason, content)
    SELECT
        OLD.session_id,
        OLD.user_id,
        coalesce(
            (SELECT max(valid_to) FROM asleep.session_versions WHERE session_id = OLD.session_id), OLD.created_at
        ),
        now(),
        CASE
            WHEN OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL THEN 'deleted'
            WHEN OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL THEN 'restored'
            ELSE 'reanalysed'
        END,
        to_jsonb(OLD);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION asleep.keep_version() IS 'Keeps the former row of a final session whose content changes.'
"""

_TRIGGERS = (
    """
    CREATE TRIGGER changes_of_inserts AFTER INSERT ON asleep.sleep_sessions
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION asleep.note_changes()
    """,
    """
    CREATE TRIGGER changes_of_updates AFTER UPDATE ON asleep.sleep_sessions
    REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION asleep.note_changes()
    """,
    """
    CREATE TRIGGER changes_of_erasures AFTER DELETE ON asleep.sleep_sessions
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION asleep.note_changes()
    """,
    """
    CREATE TRIGGER former_versions AFTER UPDATE ON asleep.sleep_sessions
    FOR EACH ROW
    WHEN (
        OLD.is_final
        AND (OLD.payload_hash IS DISTINCT FROM NEW.payload_hash OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at)
    )
    EXECUTE FUNCTION asleep.keep_version()
    """,
)


def upgrade() -> None:
    """Create tables, functions, triggers."""
    op.create_table(
        "changes",
        sa.Column(
            "transaction_id",
            sa.BigInteger(),
            autoincrement=False,
            server_default=sa.text("((pg_current_xact_id())::text)::bigint"),
            nullable=False,
            comment="Transaction that made the change; the first part of a reader's position",
        ),
        sa.Column(
            "change_id",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="The second part of a reader's position",
        ),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the change was made",
        ),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="inserted, updated, deleted (at the source), erased (remove your copy), or removed (older rows are "
            "gone)",
        ),
        sa.Column("session_id", sa.Text(), nullable=True, comment="The session; null for `removed`"),
        sa.Column("user_id", sa.Text(), nullable=True, comment="Whose session it is; null for `erased` and `removed`"),
        sa.PrimaryKeyConstraint("transaction_id", "change_id", name=op.f("changes_pkey")),
        schema="asleep",
        comment="One row per change of a session, append-only. Read it by changes_since(), which never skips a change.",
    )
    op.create_index(op.f("changes_session_id_idx"), "changes", ["session_id"], schema="asleep")
    op.create_table(
        "session_versions",
        sa.Column(
            "version_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Number of the version"
        ),
        sa.Column("session_id", sa.Text(), nullable=False, comment="The session"),
        sa.Column("user_id", sa.Text(), nullable=False, comment="Whose session it was"),
        sa.Column(
            "valid_from",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Since when the table held this version",
        ),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=False, comment="When another version replaced it"),
        sa.Column("reason", sa.Text(), nullable=False, comment="deleted, restored or reanalysed"),
        sa.Column(
            "content",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The former row of sleep_sessions",
        ),
        sa.PrimaryKeyConstraint("version_id", name=op.f("session_versions_pkey")),
        schema="asleep",
        comment="One row per former version of a final session. Read it by sessions_as_of(). Erased with the user.",
    )
    op.create_index(
        op.f("session_versions_session_id_valid_to_idx"),
        "session_versions",
        ["session_id", "valid_to"],
        schema="asleep",
    )
    op.create_index(op.f("session_versions_user_id_idx"), "session_versions", ["user_id"], schema="asleep")
    op.execute(_NOTE_CHANGES)
    op.execute(_KEEP_VERSION)
    for trigger in _TRIGGERS:
        op.execute(trigger)


def downgrade() -> None:
    """Drop them with what they hold."""
    op.execute("DROP FUNCTION asleep.note_changes() CASCADE")
    op.execute("DROP FUNCTION asleep.keep_version() CASCADE")
    op.execute("DROP FUNCTION IF EXISTS asleep.sessions_as_of(timestamptz)")
    op.drop_table("session_versions", schema="asleep")
    op.drop_table("changes", schema="asleep")
