"""Record which zone a session's local times follow, and where that zone comes from.

Revision: 0012, after 0011. Rewrites every row of `sleep_sessions` once. A row whose own zone is no name of the zone
database is marked `utc`; the next sync that stores a session of its user gives it the right zone.
"""

from zoneinfo import available_timezones

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_FILL = sa.text("""
UPDATE asleep.sleep_sessions
SET local_zone = created_timezone, zone_source = 'own'
WHERE created_timezone = ANY (:names)
""")
_ZONE = "Zone by which local times are computed: a name of the zone database, or an offset as +09:00"
_SOURCE = (
    "Where local_zone comes from: own (created_timezone), offset (in its text), earlier or later (nearest "
    "session of the user that has one), registered (users.timezone), utc (none of them)"
)


def upgrade() -> None:
    """Add the columns, fill them, and index the sessions whose zone follows from their neighbours."""
    for name, default, comment in (("local_zone", "UTC", _ZONE), ("zone_source", "utc", _SOURCE)):
        column = sa.Column(name, sa.Text(), nullable=False, server_default=default, comment=comment)
        op.add_column("sleep_sessions", column, schema="asleep")
    op.get_bind().execute(_FILL, {"names": sorted(available_timezones())})
    op.create_check_constraint(
        op.f("sleep_sessions_zone_source_is_known_check"),
        "sleep_sessions",
        "zone_source IN ('own', 'offset', 'earlier', 'later', 'registered', 'utc')",
        schema="asleep",
    )
    op.create_index(
        "sleep_sessions_borrowed_zone_idx",
        "sleep_sessions",
        ["user_id"],
        schema="asleep",
        postgresql_where=sa.text("deleted_at IS NULL AND zone_source NOT IN ('own', 'offset')"),
    )
    op.alter_column(
        "sleep_sessions",
        "local_date",
        comment="Calendar date of the session's start in local time (local_zone)",
        schema="asleep",
    )
    op.alter_column(
        "users",
        "timezone",
        comment="Registered time zone, as `users import` was given it: IANA name or offset",
        schema="asleep",
    )


def downgrade() -> None:
    """Take the columns away again; the comments stay."""
    op.drop_index("sleep_sessions_borrowed_zone_idx", "sleep_sessions", schema="asleep")
    for name in ("zone_source", "local_zone"):
        op.drop_column("sleep_sessions", name, schema="asleep")
