"""${message}

Revision: ${up_revision}, after ${down_revision | comma,n}.

Before you write a step: which lock does it take, and for how long, on a table of ten million rows? Add columns
without a volatile default, build indexes CONCURRENTLY in a step of their own, validate constraints apart.
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
    """Apply this step."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Take this step back."""
    ${downgrades if downgrades else "pass"}
