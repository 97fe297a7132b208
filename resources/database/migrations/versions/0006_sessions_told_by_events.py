"""Sessions that only an event told: the next sync reads them once from the API.

Revision: 0006, after 0005. A new table: no lock on any other.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "unverified_sessions",
        sa.Column("session_id", sa.Text(), nullable=False, comment="The session"),
        sa.PrimaryKeyConstraint("session_id", name=op.f("unverified_sessions_pkey")),
        schema="asleep",
        comment="One row per session stored as an event told it and not read from the API yet. Not for analysts.",
    )


def downgrade() -> None:
    """Take this step back."""
    op.drop_table("unverified_sessions", schema="asleep")
