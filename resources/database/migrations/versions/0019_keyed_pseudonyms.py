"""Pseudonyms are keyed.

Revision: 0019, after 0018. Takes no lock on other tables. Erasures recorded before hold pseudonyms without a key, which
match nobody any more: nothing was released before this revision.
"""

import os

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_FUNCTION = """
CREATE FUNCTION asleep.pseudonym(user_id text) RETURNS text
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog
AS $$
    SELECT left(encode(sha256(k.outer_block || sha256(k.inner_block || convert_to(user_id, 'UTF8'))), 'hex'), 16)
    FROM asleep.pseudonym_key AS k
$$;
REVOKE ALL ON FUNCTION asleep.pseudonym(text) FROM PUBLIC;
COMMENT ON FUNCTION asleep.pseudonym(text) IS
    'Short name of a user, keyed, as in logs, run config and the UI: 16 hex digits of HMAC-SHA256 over the user id.'
"""


def upgrade() -> None:
    """Make the key and the function."""
    table = op.create_table(
        "pseudonym_key",
        sa.Column(
            "only_row",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="Always true: one row at most",
        ),
        sa.Column(
            "inner_block",
            sa.LargeBinary(),
            nullable=False,
            comment="The key of HMAC-SHA256, each byte of its 64 combined with 0x36",
        ),
        sa.Column(
            "outer_block",
            sa.LargeBinary(),
            nullable=False,
            comment="The key of HMAC-SHA256, each byte of its 64 combined with 0x5C",
        ),
        sa.CheckConstraint("only_row", name=op.f("pseudonym_key_is_the_only_row_check")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pseudonym_key_pkey")),
        schema="asleep",
        comment="The key of the pseudonyms. Only the owner and the pipeline may read it; it is part of every backup.",
    )
    key = os.urandom(32).ljust(64, b"\0")
    inner, outer = (bytes(byte ^ mask for byte in key) for mask in (0x36, 0x5C))
    op.bulk_insert(table, [{"inner_block": inner, "outer_block": outer}])
    op.execute(_FUNCTION)
    op.alter_column(
        "erasures", "user_pseudonym", comment="Short name of the user: asleep.pseudonym(user_id)", schema="asleep"
    )


def downgrade() -> None:
    """Not possible: the pseudonyms on record belong to the key."""
    raise NotImplementedError
