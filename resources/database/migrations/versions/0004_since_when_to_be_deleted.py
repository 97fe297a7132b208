"""Since when a user's deletion is scheduled at Asleep: the grace before the erasure here counts from then.

Revision: 0004, after 0003. A nullable column without default: no rewrite, a lock of milliseconds.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    op.add_column(
        "users",
        sa.Column(
            "to_be_deleted_since",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When that was first seen; null: it is not scheduled",
        ),
        schema="asleep",
    )


def downgrade() -> None:
    """Take this step back."""
    op.drop_column("users", "to_be_deleted_since", schema="asleep")
