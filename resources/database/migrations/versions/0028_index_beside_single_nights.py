"""The averages find dates with anything but a main sleep in one session by an index, which replaces that of split nights.

Revision: 0028, after 0027. Builds the index beside readers and writers: about 10 s for ten million rows.
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

IN_TRANSACTION = False

_INDEX = "sleep_sessions_beside_single_nights_idx"


def upgrade() -> None:
    """Build the index, and drop the one that nothing reads any more."""
    op.drop_index(_INDEX, schema="asleep", if_exists=True, postgresql_concurrently=True)
    op.create_index(
        _INDEX,
        "sleep_sessions",
        ["user_id", "night_month"],
        schema="asleep",
        postgresql_concurrently=True,
        postgresql_where=sa.text("deleted_at IS NULL AND (night_role IS DISTINCT FROM 'main' OR episode_sessions > 1)"),
    )
    op.drop_index("sleep_sessions_split_nights_idx", schema="asleep", if_exists=True, postgresql_concurrently=True)


def downgrade() -> None:
    """Not offered: restore a dump instead."""
    raise NotImplementedError
