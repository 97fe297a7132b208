"""The API's clock is compared with the database's at the end of each batch.

Revision: 0023, after 0022. Changes the catalogue only.
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_COMMENT = "One row per account of the API: how long a page of a list is. Not for analysts."


def upgrade() -> None:
    """Add the column."""
    comment = "By how much the API's clock was ahead of the database's; null: not seen"
    op.add_column("page_sizes", sa.Column("clock_ahead", sa.Interval(), comment=comment), schema="asleep")
    new = "One row per account of the API: how long a page of a list is, and its clock. Not for analysts."
    op.create_table_comment("page_sizes", new, existing_comment=_COMMENT, schema="asleep")


def downgrade() -> None:
    """Drop it."""
    op.create_table_comment("page_sizes", _COMMENT, schema="asleep")
    op.drop_column("page_sizes", "clock_ahead", schema="asleep")
