"""Lists whose end is to be confirmed at the end of a run; what was learnt about an account of the API.

Revision: 0026, after 0025. Creates two tables; drops `page_sizes`, whose content the next run learns again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, and drop the columns that it replaces."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "unconfirmed_lists",
        sa.Column("user_id", sa.Text(), primary_key=True, comment="The user"),
        sa.Column("window_start", moment, primary_key=True, comment="Start of the window that was listed"),
        sa.Column("window_end", moment, primary_key=True, comment="End of that window, exclusive"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="The run that listed it, or that confirms it"),
        sa.Column("rows", sa.Integer(), nullable=False, comment="Rows of the list"),
        sa.Column("last_page_rows", sa.Integer(), nullable=False, comment="Rows of its last page"),
        sa.Column("last_session_id", sa.Text(), nullable=False, comment="Session in its last row"),
        sa.Column("last_start", moment, comment="Latest start of a session in it"),
        schema="asleep",
        comment="One row per list that was taken for whole because its last page was short, until the last batch of a "
        "run confirms the page size; and per first list of a user that was empty (rows 0), until it is read once more. "
        "Not for analysts.",
    )
    account = "First 16 hex digits of SHA-256 over base URL and API key"
    page_rows = "Largest page of a list that the API is known to return; 0: not known"
    clock = "By how much the API's clock was ahead of the database's; null: not seen"
    formula = "How average-stats average ratios: ratio_of_sums or mean_of_nights"
    op.create_table(
        "api_accounts",
        sa.Column("account", sa.Text(), primary_key=True, comment=account),
        sa.Column("page_rows", sa.Integer(), comment=page_rows),
        sa.Column("clock_ahead", sa.Interval(), comment=clock),
        sa.Column("averaging_formula", sa.Text(), comment=formula),
        sa.Column("noted_at", moment, nullable=False, server_default=sa.func.now(), comment="When this was written"),
        schema="asleep",
        comment="One row per account of the API: what was learnt about it. Not for analysts.",
    )
    op.drop_table("page_sizes", schema="asleep")


def downgrade() -> None:
    """Restore the former table and drop the new ones."""
    moment = sa.DateTime(timezone=True)
    account = "First 16 hex digits of SHA-256 over base URL and API key"
    rows = "Largest page that the API is known to return; 0: not known"
    run = "The last run in which the end of a list was confirmed"
    clock = "By how much the API's clock was ahead of the database's; null: not seen"
    confirmed = "Rows of the last page of that list: shorter ones were the last as well"
    op.create_table(
        "page_sizes",
        sa.Column("account", sa.Text(), primary_key=True, nullable=False, comment=account),
        sa.Column("rows", sa.Integer(), nullable=False, comment=rows),
        sa.Column("confirmed_run_id", sa.Text(), comment=run),
        sa.Column("confirmed_rows", sa.Integer(), comment=confirmed),
        sa.Column("clock_ahead", sa.Interval(), comment=clock),
        sa.Column("noted_at", moment, nullable=False, server_default=sa.func.now(), comment="When this was written"),
        schema="asleep",
        comment="One row per account of the API: how long a page of a list is, and its clock. Not for analysts.",
    )
    op.drop_table("api_accounts", schema="asleep")
    op.drop_table("unconfirmed_lists", schema="asleep")
