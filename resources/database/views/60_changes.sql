-- The change feed. A position is '<transaction_id>-<change_id>'. Only changes of transactions older than every running
-- one are returned, so a change that commits later is never before a position that was handed out.
CREATE OR REPLACE FUNCTION asleep.changes_position() RETURNS text
LANGUAGE sql
STABLE
AS $$
    SELECT concat(pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1, '-', 9223372036854775807)
$$;

COMMENT ON FUNCTION asleep.changes_position() IS
    'The current position in the change feed: take it first, then copy the tables, then follow with changes_since().';

CREATE OR REPLACE FUNCTION asleep.changes_since(
    after_position text, max_rows integer DEFAULT 1000
) RETURNS TABLE (
    new_position text,
    changed_at timestamptz,
    kind text,
    session_id text,
    user_id text
)
LANGUAGE plpgsql
STABLE
AS $$
DECLARE
    after_transaction bigint := split_part(after_position, '-', 1)::bigint;
    after_change bigint := split_part(after_position, '-', 2)::bigint;
    next_transaction bigint := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
    remedy CONSTANT text := 'Take changes_position(), copy the tables again, and follow from there.';
BEGIN
    IF after_transaction >= next_transaction THEN
        RAISE EXCEPTION 'Position % is from another server: this database was restored from a dump.', after_position
            USING ERRCODE = 'data_exception', HINT = remedy;
    END IF;
    IF EXISTS (
        SELECT FROM asleep.changes AS c
        WHERE c.kind = 'removed'
            AND (c.transaction_id, c.change_id) > (after_transaction, after_change)
            AND c.transaction_id < next_transaction
    ) THEN
        RAISE EXCEPTION 'Position % is older than the oldest change that is kept.', after_position
            USING ERRCODE = 'data_exception', HINT = remedy;
    END IF;
    RETURN QUERY
        SELECT concat(c.transaction_id, '-', c.change_id), c.changed_at, c.kind, c.session_id, c.user_id
        FROM asleep.changes AS c
        WHERE (c.transaction_id, c.change_id) > (after_transaction, after_change)
            AND c.kind <> 'removed'
            AND c.transaction_id < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        ORDER BY c.transaction_id, c.change_id
        LIMIT max_rows;
END
$$;

COMMENT ON FUNCTION asleep.changes_since(text, integer) IS
    'Changes after a position, oldest first; keep the last new_position for the next call. Fails when the position is '
    'older than the changes that are kept, or from another server.';

-- A session that was not final at that moment is returned with the content with which it became final.
CREATE OR REPLACE FUNCTION asleep.sessions_as_of(moment timestamptz) RETURNS SETOF asleep.sleep_sessions
LANGUAGE sql
STABLE
AS $$
    SELECT former.*
    FROM asleep.session_versions AS v
    CROSS JOIN LATERAL jsonb_populate_record(NULL::asleep.sleep_sessions, v.content) AS former
    WHERE v.valid_from <= moment
        AND moment < v.valid_to
    UNION ALL
    SELECT s.*
    FROM asleep.sleep_sessions AS s
    WHERE s.created_at <= moment
        AND NOT EXISTS (
            SELECT FROM asleep.session_versions AS v
            WHERE v.session_id = s.session_id
                AND v.valid_to > moment
        )
$$;

COMMENT ON FUNCTION asleep.sessions_as_of(timestamptz) IS
    'Rows of sleep_sessions as they were at a moment. Erased users are in no version.';
