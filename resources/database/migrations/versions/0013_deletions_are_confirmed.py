"""Deleted sessions are requested once more, and users not found are confirmed a day later.

Revision: 0013, after 0012. Adding columns without a default takes an exclusive lock for a moment. The index covers rows
that are marked as deleted only.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two columns and the index."""
    op.add_column(
        "sleep_sessions",
        sa.Column(
            "deletion_checked_at",
            sa.DateTime(timezone=True),
            comment="When a session marked as deleted was requested once more, at least 20 hours later; null: not yet",
        ),
        schema="asleep",
    )
    op.create_index(
        "sleep_sessions_deletion_unchecked_idx",
        "sleep_sessions",
        ["user_id"],
        schema="asleep",
        postgresql_where=sa.text("deleted_at IS NOT NULL AND deletion_checked_at IS NULL"),
    )
    op.add_column(
        "users",
        sa.Column(
            "not_found_since",
            sa.DateTime(timezone=True),
            comment="When the API first reported the user as not found; null: the API returns the user",
        ),
        schema="asleep",
    )
    op.alter_column(
        "users",
        "gone_at",
        comment="When it was confirmed that the user no longer exists at the source",
        existing_comment="When the API first said that the user no longer exists",
        schema="asleep",
    )


def downgrade() -> None:
    """Drop them again."""
    op.alter_column(
        "users", "gone_at", comment="When the API first said that the user no longer exists", schema="asleep"
    )
    op.drop_column("users", "not_found_since", schema="asleep")
    op.drop_index("sleep_sessions_deletion_unchecked_idx", table_name="sleep_sessions", schema="asleep")
    op.drop_column("sleep_sessions", "deletion_checked_at", schema="asleep")
