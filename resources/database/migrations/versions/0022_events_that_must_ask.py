"""Webhook events that need a request to the API are told from those that bring everything themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the mark."""
    op.add_column(
        "webhook_events",
        sa.Column(
            "must_ask",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="True once it was found that the event needs a request to the API",
        ),
        schema="asleep",
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_column("webhook_events", "must_ask", schema="asleep")
