"""Baseline: every table, index, function and trigger of the first release.

Revision: 0010. Revisions 0001 to 0006 existed before anything was released; databases at one of them are refused.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = None
branch_labels = None
depends_on = None

_NOTE_FINAL_SESSION = """
CREATE FUNCTION asleep.note_final_session() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO asleep.notifications (session_id, user_id)
    SELECT NEW.session_id, NEW.user_id
    FROM asleep.notification_switch
    WHERE NEW.session_start_time >= since;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION asleep.note_final_session() IS
    'One row in notifications for a session that has just become final, in the transaction that made it so.'
"""

_WHEN_INSERTED = """
CREATE TRIGGER sleep_sessions_inserted_final
AFTER INSERT ON asleep.sleep_sessions
FOR EACH ROW
WHEN (
    NEW.state = 'COMPLETE' AND NEW.deleted_at IS NULL
    AND (NEW.payload_hash IS NOT NULL OR NEW.completed_time IS NOT NULL)
)
EXECUTE FUNCTION asleep.note_final_session()
"""

_WHEN_UPDATED = """
CREATE TRIGGER sleep_sessions_became_final
AFTER UPDATE ON asleep.sleep_sessions
FOR EACH ROW
WHEN (
    NEW.state = 'COMPLETE' AND NEW.deleted_at IS NULL
    AND (NEW.payload_hash IS NOT NULL OR NEW.completed_time IS NOT NULL)
    AND NOT (OLD.state = 'COMPLETE' AND (OLD.payload_hash IS NOT NULL OR OLD.completed_time IS NOT NULL))
)
EXECUTE FUNCTION asleep.note_final_session()
"""


def upgrade() -> None:
    """Create everything in the empty schema."""
    op.create_table(
        "erasures",
        sa.Column("erasure_id", sa.BigInteger(), autoincrement=True, nullable=False, comment="Number of the erasure"),
        sa.Column(
            "user_pseudonym", sa.Text(), nullable=False, comment="First 16 hex digits of SHA-256 over the user id"
        ),
        sa.Column(
            "erased_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment="When"
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="requested, gone, to_be_deleted"),
        sa.Column(
            "rows_removed", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="Rows removed by table"
        ),
        sa.PrimaryKeyConstraint("erasure_id", name=op.f("erasures_pkey")),
        schema="asleep",
        comment="One row per user erased here. Holds no id in clear.",
    )
    op.create_table(
        "event_only_sessions",
        sa.Column("session_id", sa.Text(), nullable=False, comment="The session"),
        sa.PrimaryKeyConstraint("session_id", name=op.f("event_only_sessions_pkey")),
        schema="asleep",
        comment="One row per session stored as an event told it and not read from the API yet. Not for analysts.",
    )
    op.create_table(
        "monthly_averages",
        sa.Column("user_id", sa.Text(), nullable=False, comment="The user"),
        sa.Column(
            "month", sa.Date(), nullable=False, comment="First day of the local calendar month of the sessions' start"
        ),
        sa.Column(
            "sessions", sa.Integer(), nullable=False, comment="Sessions that started in the month, whatever their state"
        ),
        sa.Column(
            "slept_sessions",
            sa.Integer(),
            nullable=False,
            comment="COMPLETE sessions with sleep; averages are over these",
        ),
        sa.Column(
            "never_slept_sessions",
            sa.Integer(),
            nullable=False,
            comment="COMPLETE sessions in which no sleep was found",
        ),
        sa.Column(
            "unanalysed_sessions",
            sa.Integer(),
            nullable=False,
            comment="Sessions without statistics (running, too short, …)",
        ),
        sa.Column("nights", sa.Integer(), nullable=False, comment="Distinct local dates with a slept session"),
        sa.Column(
            "avg_start_time", sa.Time(), nullable=True, comment="Circular mean of the local clock time of start_time"
        ),
        sa.Column(
            "avg_end_time", sa.Time(), nullable=True, comment="Circular mean of the local clock time of end_time"
        ),
        sa.Column(
            "avg_sleep_time", sa.Time(), nullable=True, comment="Circular mean of the local clock time of sleep_time"
        ),
        sa.Column(
            "avg_wake_time", sa.Time(), nullable=True, comment="Circular mean of the local clock time of wake_time"
        ),
        sa.Column("avg_sleep_index", sa.Double(), nullable=True, comment="Mean. Quality score of the night, 50 to 100"),
        sa.Column(
            "avg_sleep_latency",
            sa.Double(),
            nullable=True,
            comment="Mean. From session start to the first sleep epoch, seconds",
        ),
        sa.Column(
            "avg_wakeup_latency",
            sa.Double(),
            nullable=True,
            comment="Mean. From the last sleep epoch to session end, seconds",
        ),
        sa.Column(
            "avg_light_latency",
            sa.Double(),
            nullable=True,
            comment="Mean. From sleep onset to the first light epoch, seconds; null when never reached",
        ),
        sa.Column(
            "avg_deep_latency",
            sa.Double(),
            nullable=True,
            comment="Mean. From sleep onset to the first deep epoch, seconds; null when never reached",
        ),
        sa.Column(
            "avg_rem_latency",
            sa.Double(),
            nullable=True,
            comment="Mean. From sleep onset to the first REM epoch, seconds; null when never reached",
        ),
        sa.Column("avg_time_in_bed", sa.Double(), nullable=True, comment="Mean. Session end - session start, seconds"),
        sa.Column(
            "avg_time_in_sleep_period",
            sa.Double(),
            nullable=True,
            comment="Mean. First to last sleep epoch: sleep plus wake inside it, seconds",
        ),
        sa.Column("avg_time_in_sleep", sa.Double(), nullable=True, comment="Mean. Light + deep + REM, seconds"),
        sa.Column(
            "avg_time_in_wake", sa.Double(), nullable=True, comment="Mean. Wake inside the sleep period only, seconds"
        ),
        sa.Column("avg_time_in_light", sa.Double(), nullable=True, comment="Mean. Light sleep, seconds"),
        sa.Column("avg_time_in_deep", sa.Double(), nullable=True, comment="Mean. Deep sleep, seconds"),
        sa.Column("avg_time_in_rem", sa.Double(), nullable=True, comment="Mean. REM sleep, seconds"),
        sa.Column(
            "avg_time_in_stable_breath",
            sa.Double(),
            nullable=True,
            comment="Mean. Stable breathing, seconds; null where the contract excludes breathing analysis",
        ),
        sa.Column(
            "avg_time_in_unstable_breath",
            sa.Double(),
            nullable=True,
            comment="Mean. Unstable breathing, seconds; null where the contract excludes breathing analysis",
        ),
        sa.Column(
            "avg_time_in_snoring", sa.Double(), nullable=True, comment="Mean. Snoring inside the sleep period, seconds"
        ),
        sa.Column(
            "avg_time_in_no_snoring",
            sa.Double(),
            nullable=True,
            comment="Mean. No snoring inside the sleep period, seconds",
        ),
        sa.Column(
            "avg_breathing_index",
            sa.Double(),
            nullable=True,
            comment="Mean. Estimate in the manner of an apnoea-hypopnoea index; null where the contract excludes breathing analysis",
        ),
        sa.Column(
            "avg_unstable_breath_count",
            sa.Double(),
            nullable=True,
            comment="Mean. Clusters of unstable breathing; null where the contract excludes breathing analysis",
        ),
        sa.Column(
            "avg_waso_count",
            sa.Double(),
            nullable=True,
            comment="Mean. Wake runs inside the sleep period (wake after sleep onset)",
        ),
        sa.Column(
            "avg_longest_waso",
            sa.Double(),
            nullable=True,
            comment="Mean. Longest wake run inside the sleep period, seconds",
        ),
        sa.Column("avg_sleep_cycle_count", sa.Double(), nullable=True, comment="Mean. Sleep cycles: clusters of REM"),
        sa.Column(
            "avg_sleep_cycle",
            sa.Double(),
            nullable=True,
            comment="Mean. Average length of a sleep cycle, seconds; null when there is none",
        ),
        sa.Column("avg_snoring_count", sa.Double(), nullable=True, comment="Mean. Snoring episodes"),
        sa.Column(
            "avg_sleep_efficiency",
            sa.Double(),
            nullable=True,
            comment="sum(time_in_sleep) / sum(time_in_bed) of the sessions in which both are known",
        ),
        sa.Column(
            "avg_sleep_ratio",
            sa.Double(),
            nullable=True,
            comment="sum(time_in_sleep) / sum(time_in_sleep_period) of the sessions in which both are known",
        ),
        sa.Column(
            "avg_wake_ratio",
            sa.Double(),
            nullable=True,
            comment="sum(time_in_wake) / sum(time_in_sleep_period) of the sessions in which both are known",
        ),
        sa.Column(
            "avg_light_ratio",
            sa.Double(),
            nullable=True,
            comment="sum(time_in_light) / sum(time_in_sleep_period) of the sessions in which both are known",
        ),
        sa.Column(
            "avg_deep_ratio",
            sa.Double(),
            nullable=True,
            comment="sum(time_in_deep) / sum(time_in_sleep_period) of the sessions in which both are known",
        ),
        sa.Column(
            "avg_rem_ratio",
            sa.Double(),
            nullable=True,
            comment="sum(time_in_rem) / sum(time_in_sleep_period) of the sessions in which both are known",
        ),
        sa.Column(
            "avg_stable_breath_ratio",
            sa.Double(),
            nullable=True,
            comment="sum(time_in_stable_breath) / sum(time_in_sleep_period) of the sessions in which both are known",
        ),
        sa.Column(
            "avg_unstable_breath_ratio",
            sa.Double(),
            nullable=True,
            comment="sum(time_in_unstable_breath) / sum(time_in_sleep_period) of the sessions in which both are known",
        ),
        sa.Column(
            "avg_snoring_ratio",
            sa.Double(),
            nullable=True,
            comment="sum(time_in_snoring) / sum(time_in_sleep_period) of the sessions in which both are known",
        ),
        sa.Column(
            "avg_no_snoring_ratio",
            sa.Double(),
            nullable=True,
            comment="sum(time_in_no_snoring) / sum(time_in_sleep_period) of the sessions in which both are known",
        ),
        sa.Column(
            "computed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row last changed",
        ),
        sa.PrimaryKeyConstraint("user_id", "month", name=op.f("monthly_averages_pkey")),
        schema="asleep",
        comment="One row per user and local month with sessions: averages over slept, not deleted sessions.",
    )
    op.create_index(op.f("monthly_averages_month_idx"), "monthly_averages", ["month"], unique=False, schema="asleep")
    op.create_table(
        "notification_switch",
        sa.Column(
            "only_row",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="Always true: one row at most",
        ),
        sa.Column(
            "since",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Sessions that started earlier are history, not news",
        ),
        sa.CheckConstraint("only_row", name=op.f("notification_switch_is_the_only_row_check")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("notification_switch_pkey")),
        schema="asleep",
        comment="One row while notifications are wanted, none otherwise. Not for analysts.",
    )
    op.create_table(
        "notifications",
        sa.Column(
            "notification_id", sa.BigInteger(), autoincrement=True, nullable=False, comment="Number of the notification"
        ),
        sa.Column("session_id", sa.Text(), nullable=False, comment="The session that became final"),
        sa.Column("user_id", sa.Text(), nullable=False, comment="Whose session it is"),
        sa.Column(
            "became_final_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it became final here",
        ),
        sa.Column(
            "delivered_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the receiver accepted it; null: not yet",
        ),
        sa.Column(
            "attempts", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="Times delivery was tried"
        ),
        sa.Column(
            "next_attempt_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Not tried again before",
        ),
        sa.Column(
            "parked_at", sa.DateTime(timezone=True), nullable=True, comment="When we stopped trying; null: still tried"
        ),
        sa.Column("error", sa.Text(), nullable=True, comment="Why the last try failed"),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("notifications_pkey")),
        schema="asleep",
        comment="One row per session that became final and has to be told: the outbox. Not for analysts.",
    )
    op.create_index(
        "notifications_parked_idx",
        "notifications",
        ["notification_id"],
        unique=False,
        schema="asleep",
        postgresql_where=sa.text("parked_at IS NOT NULL"),
    )
    op.create_index(op.f("notifications_user_id_idx"), "notifications", ["user_id"], unique=False, schema="asleep")
    op.create_index(
        "notifications_waiting_idx",
        "notifications",
        ["next_attempt_at"],
        unique=False,
        schema="asleep",
        postgresql_where=sa.text("delivered_at IS NULL AND parked_at IS NULL"),
    )
    op.create_table(
        "rate_limits",
        sa.Column("key_id", sa.Text(), nullable=False, comment="First 16 hex digits of SHA-256 over the API key"),
        sa.Column(
            "requests_per_second", sa.Double(), nullable=False, comment="Lowest rate that a process announced lately"
        ),
        sa.Column(
            "announced_at",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="When that rate was last announced; a higher one counts a minute later",
        ),
        sa.Column(
            "next_slot",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Moment of the next free slot",
        ),
        sa.Column(
            "loose_until",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Slots before this moment keep the larger distance that loose slots need",
        ),
        sa.Column(
            "idle_seconds",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Seconds for which next_slot lay in the past, fading; above 0.25 slots are loose",
        ),
        sa.Column(
            "throttle_factor",
            sa.Double(),
            server_default=sa.text("1"),
            nullable=False,
            comment="Share of the rate after the last pause; it has grown since",
        ),
        sa.Column(
            "throttled_at",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="When the API last throttled a request and the rate was cut",
        ),
        sa.Column(
            "paused_until",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="No request before this moment: Retry-After, or a pause of our own",
        ),
        sa.Column(
            "circuit",
            sa.Text(),
            server_default=sa.text("'closed'"),
            nullable=False,
            comment="closed: requests flow; open: none; half_open: one probe is under way",
        ),
        sa.Column(
            "circuit_since",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="When the circuit last opened or closed; older requests' failures do not count",
        ),
        sa.Column(
            "failures",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Grows by 1 with a failure, shrinks by a half with a response; opens the circuit",
        ),
        sa.Column(
            "failed_at",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Last failure: 5xx, time-out, connection refused or cut",
        ),
        sa.Column(
            "probe_at",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="When the next probe may go; half_open: when the present one is replaced",
        ),
        sa.Column(
            "probe_reserved_at",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="When the present probe was reserved: tells its result from an older one's",
        ),
        sa.Column(
            "updated_at",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Last reservation",
        ),
        sa.CheckConstraint(
            "circuit IN ('closed', 'open', 'half_open')", name=op.f("rate_limits_circuit_is_known_check")
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("rate_limits_pkey")),
        schema="asleep",
        comment="One row per API key: rate limit and circuit breaker of all processes. Moments are seconds since 1970, 0 means never. Not for analysts.",
    )
    op.create_table(
        "service_limits",
        sa.Column("client", sa.Text(), nullable=False, comment="First 16 hex digits of SHA-256 over the client's key"),
        sa.Column("scope", sa.Text(), nullable=False, comment="Which limit: all, sessions, summary"),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False, comment="Start of the current window"),
        sa.Column("used", sa.Integer(), nullable=False, comment="Requests let through in the current window"),
        sa.Column("used_before", sa.Integer(), nullable=False, comment="Requests let through in the window before"),
        sa.PrimaryKeyConstraint("client", "scope", name=op.f("service_limits_pkey")),
        schema="asleep",
        comment="One row per client and limit of the read API: a sliding counter that all workers share. Not for analysts.",
    )
    op.create_table(
        "session_payloads",
        sa.Column("session_id", sa.Text(), nullable=False, comment="The session"),
        sa.Column(
            "result",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="The API's `result`, whole and untouched",
        ),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False, comment="When it was asked for"),
        sa.PrimaryKeyConstraint("session_id", name=op.f("session_payloads_pkey")),
        schema="asleep",
        comment="One row per session fetched in full: the raw answer. Not for analysts.",
    )
    op.create_table(
        "sleep_sessions",
        sa.Column("session_id", sa.Text(), nullable=False, comment="Id issued by Asleep; opaque, case-sensitive"),
        sa.Column("user_id", sa.Text(), nullable=False, comment="Whose session it is"),
        sa.Column("state", sa.Text(), nullable=False, comment="OPEN (running), CLOSED (being analysed), COMPLETE"),
        sa.Column("session_start_time", sa.DateTime(timezone=True), nullable=False, comment="Start of tracking"),
        sa.Column(
            "session_end_time", sa.DateTime(timezone=True), nullable=True, comment="End of tracking; null while OPEN"
        ),
        sa.Column(
            "unexpected_end_time",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Set when the session was not closed in the normal way",
        ),
        sa.Column(
            "created_timezone",
            sa.Text(),
            nullable=True,
            comment="Zone of the phone when the session was made, as the API gives it",
        ),
        sa.Column(
            "local_date",
            sa.Date(),
            nullable=False,
            comment="Calendar date of the session's start in local time (created_timezone; unknown zone: the user's last known one; else UTC)",
        ),
        sa.Column("local_month", sa.Date(), nullable=False, comment="First day of the month of local_date"),
        sa.Column(
            "session_start_local",
            sa.DateTime(),
            nullable=False,
            comment="session_start_time as the local clock showed it",
        ),
        sa.Column(
            "session_end_local", sa.DateTime(), nullable=True, comment="session_end_time as the local clock showed it"
        ),
        sa.Column("sleep_time_local", sa.DateTime(), nullable=True, comment="sleep_time as the local clock showed it"),
        sa.Column("wake_time_local", sa.DateTime(), nullable=True, comment="wake_time as the local clock showed it"),
        sa.Column(
            "last_received_seq_num",
            sa.Integer(),
            nullable=True,
            comment="Zero-based number of the last 30-second chunk received",
        ),
        sa.Column(
            "peculiarities",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="Flags of the analysis, e.g. NEVER_SLEPT, TOO_SHORT_FOR_ANALYSIS",
        ),
        sa.Column(
            "missing_data_ratio", sa.Double(), nullable=True, comment="0 to 1: share of audio that never arrived"
        ),
        sa.Column(
            "sleep_time",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When sleep began: the first sleep epoch (start + sleep_latency). As the API gives it.",
        ),
        sa.Column(
            "wake_time",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When sleep ended: end of the last sleep epoch (end - wakeup_latency). As the API gives it.",
        ),
        sa.Column(
            "sleep_index",
            sa.Integer(),
            nullable=True,
            comment="Quality score of the night, 50 to 100. As the API gives it.",
        ),
        sa.Column(
            "sleep_latency",
            sa.Integer(),
            nullable=True,
            comment="From session start to the first sleep epoch, seconds. As the API gives it.",
        ),
        sa.Column(
            "wakeup_latency",
            sa.Integer(),
            nullable=True,
            comment="From the last sleep epoch to session end, seconds. As the API gives it.",
        ),
        sa.Column(
            "light_latency",
            sa.Integer(),
            nullable=True,
            comment="From sleep onset to the first light epoch, seconds; null when never reached. As the API gives it.",
        ),
        sa.Column(
            "deep_latency",
            sa.Integer(),
            nullable=True,
            comment="From sleep onset to the first deep epoch, seconds; null when never reached. As the API gives it.",
        ),
        sa.Column(
            "rem_latency",
            sa.Integer(),
            nullable=True,
            comment="From sleep onset to the first REM epoch, seconds; null when never reached. As the API gives it.",
        ),
        sa.Column(
            "time_in_bed",
            sa.Integer(),
            nullable=True,
            comment="Session end - session start, seconds. As the API gives it.",
        ),
        sa.Column(
            "time_in_sleep_period",
            sa.Integer(),
            nullable=True,
            comment="First to last sleep epoch: sleep plus wake inside it, seconds. As the API gives it.",
        ),
        sa.Column(
            "time_in_sleep", sa.Integer(), nullable=True, comment="Light + deep + REM, seconds. As the API gives it."
        ),
        sa.Column(
            "time_in_wake",
            sa.Integer(),
            nullable=True,
            comment="Wake inside the sleep period only, seconds. As the API gives it.",
        ),
        sa.Column("time_in_light", sa.Integer(), nullable=True, comment="Light sleep, seconds. As the API gives it."),
        sa.Column("time_in_deep", sa.Integer(), nullable=True, comment="Deep sleep, seconds. As the API gives it."),
        sa.Column("time_in_rem", sa.Integer(), nullable=True, comment="REM sleep, seconds. As the API gives it."),
        sa.Column(
            "time_in_stable_breath",
            sa.Integer(),
            nullable=True,
            comment="Stable breathing, seconds; null where the contract excludes breathing analysis. As the API gives it.",
        ),
        sa.Column(
            "time_in_unstable_breath",
            sa.Integer(),
            nullable=True,
            comment="Unstable breathing, seconds; null where the contract excludes breathing analysis. As the API gives it.",
        ),
        sa.Column(
            "time_in_snoring",
            sa.Integer(),
            nullable=True,
            comment="Snoring inside the sleep period, seconds. As the API gives it.",
        ),
        sa.Column(
            "time_in_no_snoring",
            sa.Integer(),
            nullable=True,
            comment="No snoring inside the sleep period, seconds. As the API gives it.",
        ),
        sa.Column(
            "sleep_efficiency",
            sa.Double(),
            nullable=True,
            comment="0 to 1: time_in_sleep / time_in_bed, as the API rounds it. As the API gives it.",
        ),
        sa.Column(
            "sleep_ratio",
            sa.Double(),
            nullable=True,
            comment="0 to 1, share of the sleep period asleep (1 - wake_ratio). As the API gives it.",
        ),
        sa.Column(
            "wake_ratio",
            sa.Double(),
            nullable=True,
            comment="0 to 1, share of the sleep period awake. As the API gives it.",
        ),
        sa.Column(
            "light_ratio",
            sa.Double(),
            nullable=True,
            comment="0 to 1, share of the sleep period in light sleep; carries the rounding, so that the four shares add to 1. As the API gives it.",
        ),
        sa.Column(
            "deep_ratio",
            sa.Double(),
            nullable=True,
            comment="0 to 1, share of the sleep period in deep sleep. As the API gives it.",
        ),
        sa.Column(
            "rem_ratio",
            sa.Double(),
            nullable=True,
            comment="0 to 1, share of the sleep period in REM sleep. As the API gives it.",
        ),
        sa.Column(
            "stable_breath_ratio",
            sa.Double(),
            nullable=True,
            comment="0 to 1, share of the sleep period of stable breathing; null where the contract excludes breathing analysis. As the API gives it.",
        ),
        sa.Column(
            "unstable_breath_ratio",
            sa.Double(),
            nullable=True,
            comment="0 to 1, share of the sleep period of unstable breathing; null where the contract excludes breathing analysis. As the API gives it.",
        ),
        sa.Column(
            "snoring_ratio",
            sa.Double(),
            nullable=True,
            comment="0 to 1, share of the sleep period with snoring. As the API gives it.",
        ),
        sa.Column(
            "no_snoring_ratio",
            sa.Double(),
            nullable=True,
            comment="0 to 1, share of the sleep period without snoring. As the API gives it.",
        ),
        sa.Column(
            "breathing_index",
            sa.Double(),
            nullable=True,
            comment="Estimate in the manner of an apnoea-hypopnoea index; null where the contract excludes breathing analysis. As the API gives it.",
        ),
        sa.Column(
            "breathing_pattern",
            sa.Text(),
            nullable=True,
            comment="Category of breathing, e.g. STABLE_BREATH; null where the contract excludes breathing analysis. As the API gives it.",
        ),
        sa.Column(
            "unstable_breath_count",
            sa.Integer(),
            nullable=True,
            comment="Clusters of unstable breathing; null where the contract excludes breathing analysis. As the API gives it.",
        ),
        sa.Column(
            "waso_count",
            sa.Integer(),
            nullable=True,
            comment="Wake runs inside the sleep period (wake after sleep onset). As the API gives it.",
        ),
        sa.Column(
            "longest_waso",
            sa.Integer(),
            nullable=True,
            comment="Longest wake run inside the sleep period, seconds. As the API gives it.",
        ),
        sa.Column(
            "sleep_cycle_count",
            sa.Integer(),
            nullable=True,
            comment="Sleep cycles: clusters of REM. As the API gives it.",
        ),
        sa.Column(
            "sleep_cycle",
            sa.Double(),
            nullable=True,
            comment="Average length of a sleep cycle, seconds; null when there is none. As the API gives it.",
        ),
        sa.Column(
            "sleep_cycle_time",
            postgresql.ARRAY(sa.DateTime(timezone=True)),
            nullable=True,
            comment="Sleep onset, then the end of each cycle. As the API gives it.",
        ),
        sa.Column("snoring_count", sa.Integer(), nullable=True, comment="Snoring episodes. As the API gives it."),
        sa.Column(
            "sleep_stages",
            postgresql.ARRAY(sa.SmallInteger()),
            nullable=True,
            comment="One value per 30 s from session_start_time: -1 unknown, 0 wake, 1 light, 2 deep, 3 REM",
        ),
        sa.Column(
            "breath_stages",
            postgresql.ARRAY(sa.SmallInteger()),
            nullable=True,
            comment="One value per 30 s; codes are not documented by Asleep",
        ),
        sa.Column(
            "snoring_stages",
            postgresql.ARRAY(sa.SmallInteger()),
            nullable=True,
            comment="One value per 30 s: 0 quiet, 1 snoring",
        ),
        sa.Column(
            "completed_time",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the analysis ended, as average-stats tells; null: not asked yet",
        ),
        sa.Column(
            "payload_hash",
            sa.LargeBinary(),
            nullable=True,
            comment="Fingerprint of the raw result; null while only list row or statistics are known",
        ),
        sa.Column(
            "contract_violations",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="What the answer held that the API's contract does not allow: place and reason, never the value",
        ),
        sa.Column(
            "fetched_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the stored answer was asked for; an older answer never overwrites a newer one",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row was first written",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row last changed",
        ),
        sa.Column(
            "deleted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the session was found deleted at the source; null: it exists",
        ),
        sa.CheckConstraint(
            "local_month = date_trunc('month', local_date)::date",
            name=op.f("sleep_sessions_local_month_is_of_local_date_check"),
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("sleep_sessions_pkey")),
        schema="asleep",
        comment="One row per sleep session, latest version. Times are instants (timestamptz) but for *_local.",
    )
    op.create_index(
        op.f("sleep_sessions_created_at_idx"), "sleep_sessions", ["created_at"], unique=False, schema="asleep"
    )
    op.create_index(
        op.f("sleep_sessions_local_date_idx"), "sleep_sessions", ["local_date"], unique=False, schema="asleep"
    )
    op.create_index(
        op.f("sleep_sessions_local_month_user_id_idx"),
        "sleep_sessions",
        ["local_month", "user_id"],
        unique=False,
        schema="asleep",
    )
    op.create_index(
        "sleep_sessions_not_final_idx",
        "sleep_sessions",
        ["user_id"],
        unique=False,
        schema="asleep",
        postgresql_where=sa.text("deleted_at IS NULL AND (state <> 'COMPLETE' OR payload_hash IS NULL)"),
    )
    op.create_index(
        op.f("sleep_sessions_updated_at_idx"), "sleep_sessions", ["updated_at"], unique=False, schema="asleep"
    )
    op.create_index(
        op.f("sleep_sessions_user_id_idx"),
        "sleep_sessions",
        ["user_id", sa.literal_column("session_start_time DESC")],
        unique=False,
        schema="asleep",
    )
    op.create_index(
        op.f("sleep_sessions_user_id_local_date_idx"),
        "sleep_sessions",
        ["user_id", "local_date"],
        unique=False,
        schema="asleep",
    )
    op.create_table(
        "stale_months",
        sa.Column("user_id", sa.Text(), nullable=False, comment="The user"),
        sa.Column("month", sa.Date(), nullable=False, comment="First day of the local month"),
        sa.Column(
            "version",
            sa.BigInteger(),
            server_default=sa.text("1"),
            nullable=False,
            comment="Counts changes while waiting",
        ),
        sa.PrimaryKeyConstraint("user_id", "month", name=op.f("stale_months_pkey")),
        schema="asleep",
        comment="One row per user-month whose sessions changed since its averages were computed. Not for analysts.",
    )
    op.create_table(
        "sync_batches",
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run"),
        sa.Column("batch", sa.Integer(), nullable=False, comment="Number of the batch in the run, from 0"),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False, comment="Start of the run's window"),
        sa.Column(
            "window_end", sa.DateTime(timezone=True), nullable=False, comment="End of the run's window, exclusive"
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, comment="When the batch began"),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the batch ended; null: running, or killed",
        ),
        sa.Column(
            "counts",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="users, sessions inserted/updated/unchanged/deleted, requests by kind, throttles, seconds waited",
        ),
        sa.PrimaryKeyConstraint("run_id", "batch", name=op.f("sync_batches_pkey")),
        schema="asleep",
        comment="One row per batch of a sync run: what it did. Not for analysts.",
    )
    op.create_table(
        "sync_failures",
        sa.Column("failure_id", sa.BigInteger(), autoincrement=True, nullable=False, comment="Number of the failure"),
        sa.Column("user_id", sa.Text(), nullable=False, comment="Who could not be synced"),
        sa.Column(
            "session_id", sa.Text(), nullable=True, comment="The session that could not be read; null: the user's list"
        ),
        sa.Column(
            "window_start",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Start of the window that was being synced",
        ),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=True, comment="End of that window, exclusive"),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="unavailable, malformed, identifier_refused, request_refused, …"
        ),
        sa.Column("message", sa.Text(), nullable=False, comment="What happened"),
        sa.Column("raw_body", sa.LargeBinary(), nullable=True, comment="The answer as received (cut at 64 KiB)"),
        sa.Column(
            "attempts", sa.Integer(), server_default=sa.text("1"), nullable=False, comment="Runs in which it failed"
        ),
        sa.Column(
            "first_failed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="First time",
        ),
        sa.Column(
            "last_failed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Last time",
        ),
        sa.Column(
            "resolved_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was mended; null: a hole in the data",
        ),
        sa.PrimaryKeyConstraint("failure_id", name=op.f("sync_failures_pkey")),
        schema="asleep",
        comment="One row per user or session that could not be synced. Unresolved rows are missing data. Not for analysts.",
    )
    op.create_index(
        "sync_failures_unresolved_idx",
        "sync_failures",
        ["user_id", sa.literal_column("coalesce(session_id, '')")],
        unique=True,
        schema="asleep",
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_table(
        "sync_ledger",
        sa.Column("user_id", sa.Text(), nullable=False, comment="The user"),
        sa.Column(
            "window_start",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Start of the window last synced in full",
        ),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False, comment="End of that window, exclusive"),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=False, comment="When the list was asked for"),
        sa.Column("detail", sa.Text(), nullable=False, comment="full or statistics: what was asked for"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("sync_ledger_pkey")),
        schema="asleep",
        comment="One row per user: the window last synced in full, and when. The cache of lists.",
    )
    op.create_table(
        "users",
        sa.Column("user_id", sa.Text(), nullable=False, comment="Id issued by Asleep; opaque, case-sensitive"),
        sa.Column(
            "timezone",
            sa.Text(),
            nullable=True,
            comment="Last known time zone (IANA name): from the registry, then from sessions",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="How we learnt of the user: import, webhook"),
        sa.Column(
            "active", sa.Boolean(), server_default=sa.text("true"), nullable=False, comment="Synced only while true"
        ),
        sa.Column(
            "to_be_deleted",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Asleep has scheduled this user for deletion",
        ),
        sa.Column(
            "registered_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="First seen here",
        ),
        sa.Column(
            "last_synced_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Last time everything asked for this user landed",
        ),
        sa.Column(
            "to_be_deleted_since",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When that was first seen; null: it is not scheduled",
        ),
        sa.Column(
            "gone_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the API first said that the user no longer exists",
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("users_pkey")),
        schema="asleep",
        comment="One row per registered user. The API cannot list users, so this registry decides who is synced.",
    )
    op.create_table(
        "webhook_events",
        sa.Column("event_id", sa.BigInteger(), autoincrement=True, nullable=False, comment="Number of the event"),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the raw body: one row per body"),
        sa.Column(
            "headers",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Headers received, without the key",
        ),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="The raw body"),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it arrived",
        ),
        sa.Column(
            "processed_at", sa.DateTime(timezone=True), nullable=True, comment="When it was handled; null: waiting"
        ),
        sa.Column(
            "attempts", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="Times handling was tried"
        ),
        sa.Column(
            "next_attempt_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Not tried again before",
        ),
        sa.Column("error", sa.Text(), nullable=True, comment="Why the last try failed"),
        sa.PrimaryKeyConstraint("event_id", name=op.f("webhook_events_pkey")),
        sa.UniqueConstraint("body_hash", name=op.f("webhook_events_body_hash_key")),
        schema="asleep",
        comment="One row per webhook event received: the inbox. Not for analysts.",
    )
    op.create_index(
        "webhook_events_parked_idx",
        "webhook_events",
        ["event_id"],
        unique=False,
        schema="asleep",
        postgresql_where=sa.text("processed_at IS NOT NULL AND error IS NOT NULL"),
    )
    op.create_index(
        "webhook_events_waiting_idx",
        "webhook_events",
        ["next_attempt_at"],
        unique=False,
        schema="asleep",
        postgresql_where=sa.text("processed_at IS NULL"),
    )
    op.execute(_NOTE_FINAL_SESSION)
    op.execute(_WHEN_INSERTED)
    op.execute(_WHEN_UPDATED)


def downgrade() -> None:
    """Drop every table with its data."""
    for table in [
        "webhook_events",
        "users",
        "sync_ledger",
        "sync_failures",
        "sync_batches",
        "stale_months",
        "sleep_sessions",
        "session_payloads",
        "service_limits",
        "rate_limits",
        "notifications",
        "notification_switch",
        "monthly_averages",
        "event_only_sessions",
        "erasures",
    ]:
        op.drop_table(table, schema="asleep")
    op.execute("DROP FUNCTION asleep.note_final_session()")
