"""Define "slept", "never slept", "final" and "synced user" once, as columns that Postgres computes.

Revision: 0011, after 0010. Adding a stored generated column rewrites the table under an exclusive lock, which no
released database has to pay: this step belongs to the first release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TRIGGERS = """
DROP TRIGGER sleep_sessions_inserted_final ON asleep.sleep_sessions;
DROP TRIGGER sleep_sessions_became_final ON asleep.sleep_sessions;
CREATE TRIGGER sleep_sessions_inserted_final
AFTER INSERT ON asleep.sleep_sessions
FOR EACH ROW
WHEN (NEW.has_result AND NEW.deleted_at IS NULL)
EXECUTE FUNCTION asleep.note_final_session();
CREATE TRIGGER sleep_sessions_became_final
AFTER UPDATE ON asleep.sleep_sessions
FOR EACH ROW
WHEN (NEW.has_result AND NEW.deleted_at IS NULL AND NOT OLD.has_result)
EXECUTE FUNCTION asleep.note_final_session()
"""


def _derived(name: str, condition: str, comment: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), sa.Computed(condition, persisted=True), nullable=False, comment=comment)


def upgrade() -> None:
    """Add the columns; use them in the triggers and in the partial index."""
    op.add_column(
        "users",
        _derived(
            "is_synced", "active AND gone_at IS NULL", "True for users that every sync includes: active and not gone"
        ),
        schema="asleep",
    )
    for column in (
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
    ):
        op.add_column("sleep_sessions", column, schema="asleep")
    op.execute(_TRIGGERS)
    op.drop_index("sleep_sessions_not_final_idx", table_name="sleep_sessions", schema="asleep")
    op.create_index(
        "sleep_sessions_not_final_idx",
        "sleep_sessions",
        ["user_id"],
        schema="asleep",
        postgresql_where=sa.text("deleted_at IS NULL AND NOT is_final"),
    )


def downgrade() -> None:
    """Not offered: restore a dump instead."""
    raise NotImplementedError
