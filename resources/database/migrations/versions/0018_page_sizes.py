"""The largest page that the API is known to return, by account."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "page_sizes",
        sa.Column(
            "account",
            sa.Text(),
            primary_key=True,
            nullable=False,
            comment="First 16 hex digits of SHA-256 over base URL and API key",
        ),
        sa.Column(
            "rows",
            sa.Integer(),
            nullable=False,
            comment="Largest page that the API is known to return; 0: not known",
        ),
        sa.Column("confirmed_run_id", sa.Text(), comment="The last run in which the end of a list was confirmed"),
        sa.Column(
            "confirmed_rows",
            sa.Integer(),
            comment="Rows of the last page of that list: shorter ones were the last as well",
        ),
        sa.Column(
            "noted_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.now(),
            comment="When this was written",
        ),
        schema="asleep",
        comment="One row per account of the API: how long a page of a list is. Not for analysts.",
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("page_sizes", schema="asleep")
