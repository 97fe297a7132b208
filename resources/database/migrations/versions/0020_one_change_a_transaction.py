"""Record one change of a session in each transaction; drop the feed's index by session.

Revision: 0020, after 0019. Dropping the index blocks writers of `sleep_sessions` for a moment.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_NOTE_CHANGES = """
CREATE OR REPLACE FUNCTION asleep.note_changes() RETURNS trigger
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
        {condition}
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
"""

_FIRST_OF_THE_TRANSACTION = """
        WHERE n.deleted_at IS NOT NULL AND o.deleted_at IS NULL
            OR n.session_id NOT IN (
                SELECT c.session_id
                FROM asleep.changes AS c
                WHERE c.transaction_id = pg_current_xact_id()::text::bigint
                    AND c.kind IN ('inserted', 'updated', 'deleted')
            )
"""
"""A reader reads the row after the commit, so the transaction's first change of a session covers the others."""


def upgrade() -> None:
    """Replace the trigger's function and drop the index."""
    op.execute(_NOTE_CHANGES.format(condition=_FIRST_OF_THE_TRANSACTION))
    op.create_table_comment(
        "changes",
        "One row per session that a transaction changed, append-only. Read it by changes_since(), which never skips a "
        "change.",
        schema="asleep",
    )
    op.drop_index(op.f("changes_session_id_idx"), table_name="changes", schema="asleep")


def downgrade() -> None:
    """Record every update again, with the index."""
    op.create_index(op.f("changes_session_id_idx"), "changes", ["session_id"], schema="asleep")
    op.execute(_NOTE_CHANGES.format(condition=""))
    op.create_table_comment(
        "changes",
        "One row per change of a session, append-only. Read it by changes_since(), which never skips a change.",
        schema="asleep",
    )
