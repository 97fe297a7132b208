"""The first day that is synced as a partition."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; `asleep-sync migrate` fills it."""
    op.create_table(
        "first_day",
        sa.Column(
            "only_row",
            sa.Boolean(),
            primary_key=True,
            nullable=False,
            server_default=sa.text("true"),
            comment="Always true: one row at most",
        ),
        sa.Column("day", sa.Date(), nullable=False, comment="First UTC day of session starts; it only ever moves back"),
        sa.CheckConstraint("only_row", name=op.f("first_day_is_the_only_row_check")),
        schema="asleep",
        comment="The first daily partition, and in its month the first monthly one. Not for analysts.",
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("first_day", schema="asleep")
