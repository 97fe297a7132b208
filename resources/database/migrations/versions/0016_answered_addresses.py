"""Record answered addresses and the batches of a run.

Revision: 0016, after 0015. A new table, and a column with a constant default: an exclusive lock for a moment.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, add the column."""
    op.create_table(
        "api_addresses",
        sa.Column("base_url", sa.Text(), nullable=False, comment="Address of the API, as in ASLEEP_BASE_URL"),
        sa.Column(
            "answered_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="First response of the API",
        ),
        sa.PrimaryKeyConstraint("base_url", name=op.f("api_addresses_pkey")),
        schema="asleep",
        comment="One row per address from which the API has answered. A sync with a new one gives up within seconds. "
        "Not for analysts.",
    )
    op.add_column(
        "sync_batches",
        sa.Column(
            "batches", sa.Integer(), server_default=sa.text("1"), nullable=False, comment="Number of batches of the run"
        ),
        schema="asleep",
    )


def downgrade() -> None:
    """Drop them again."""
    op.drop_column("sync_batches", "batches", schema="asleep")
    op.drop_table("api_addresses", schema="asleep")
