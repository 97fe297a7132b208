"""A late request holds one slot back, a second later, instead of moving every later slot of the fleet.

Revision: 0005, after 0004. One row per API key: no time, a lock of milliseconds. Stop the processes that talk to the
API first: those of the version before miss their column.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    op.drop_column("rate_limits", "pushed_seconds", schema="asleep")
    op.add_column(
        "rate_limits",
        sa.Column(
            "slots_given",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Slots given away so far: the number of the next one",
        ),
        schema="asleep",
    )
    op.add_column(
        "rate_limits",
        sa.Column(
            "held_back",
            postgresql.JSONB(),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Numbers of slots, each with the moment (seconds since 1970) before which it may not be used: "
            "a second after a request that was late",
        ),
        schema="asleep",
    )


def downgrade() -> None:
    """Take this step back."""
    op.drop_column("rate_limits", "held_back", schema="asleep")
    op.drop_column("rate_limits", "slots_given", schema="asleep")
    op.add_column(
        "rate_limits",
        sa.Column(
            "pushed_seconds",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="By how much late senders have moved all later slots, in total",
        ),
        schema="asleep",
    )
