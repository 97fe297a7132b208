"""${message}.

Revision: ${up_revision}, after ${down_revision | comma,n}.

Which lock does each statement take, and for how long, on a table of ten million rows? A statement waits 0.8 s for a lock
and runs 60 s at most; without the lock the migration is rolled back and tried again.

- Add columns without a volatile default. A stored generated column rewrites the table.
- Add constraints with postgresql_not_valid=True; validate them in the next migration.
- Build an index on a large table in a migration of its own with `IN_TRANSACTION = False`: op.drop_index(NAME,
  schema="asleep", if_exists=True, postgresql_concurrently=True), for what an attempt that failed left behind, then
  op.create_index(NAME, TABLE, COLUMNS, schema="asleep", postgresql_concurrently=True).
- A longer statement: op.execute("SET LOCAL statement_timeout = '10min'").
- Views need no care: `migrate` drops those of `views/` before and creates them after.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this migration."""
    ${upgrades if upgrades else "pass"}
