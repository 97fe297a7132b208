-- Sessions that the API no longer finds. A newer answer is not overruled, nor is another owner: a session that moved
-- from one user to another is missing with the first and lives on. Too many deletions within 24 hours are held back as
-- failures of kind `deletion_held`, until they are read again at least 20 hours later or a person accepts them. A
-- session that is marked already has now been read a second time. One row: ids of the sessions deleted, number held.
WITH found AS (
    SELECT user_id, session_id, asked_at
    FROM unnest(CAST(:user_id AS text []), CAST(:session_id AS text []), CAST(:asked_at AS timestamptz []))
        AS gone (user_id, session_id, asked_at)
),
candidates AS (
    SELECT
        s.session_id,
        s.user_id,
        found.asked_at,
        held.failure_id,
        coalesce(held.first_failed_at <= now() - interval '20 hours', FALSE) AS confirmed
    FROM found
    INNER JOIN asleep.sleep_sessions AS s
        ON s.session_id = found.session_id
        AND s.user_id = found.user_id
        AND s.deleted_at IS NULL
        AND s.fetched_at <= found.asked_at
    LEFT JOIN asleep.sync_failures AS held
        ON held.user_id = s.user_id
        AND held.session_id = s.session_id
        AND held.kind = 'deletion_held'
        AND held.resolved_at IS NULL
),
recent AS (
    SELECT session_id, user_id FROM candidates WHERE NOT confirmed
    UNION
    SELECT session_id, user_id
    FROM asleep.sleep_sessions
    WHERE deleted_at > now() - interval '24 hours'
        AND deletion_checked_at IS NULL
),
brake AS (
    SELECT
        (SELECT count(*) FROM recent) > 20
        AND (SELECT count(*) FROM recent) > (
            SELECT 0.1 * count(*)
            FROM asleep.sleep_sessions
            WHERE session_start_time >= :window_start
                AND session_start_time < :window_end
                AND (deleted_at IS NULL OR deleted_at > now() - interval '24 hours')
        )
        OR (
            SELECT count(*)
            FROM (SELECT DISTINCT user_id FROM recent) AS users_concerned
            WHERE NOT EXISTS (
                SELECT FROM asleep.sleep_sessions AS s
                WHERE s.user_id = users_concerned.user_id
                    AND s.deleted_at IS NULL
                    AND s.session_id NOT IN (SELECT session_id FROM candidates)
            )
        ) > 3 AS is_on
),
accepted AS (
    SELECT session_id, asked_at, confirmed, failure_id
    FROM candidates
    WHERE confirmed OR :accept OR NOT (SELECT is_on FROM brake)
),
marked AS (
    UPDATE asleep.sleep_sessions AS s
    SET
        deleted_at = now(),
        updated_at = now(),
        fetched_at = accepted.asked_at,
        deletion_checked_at = CASE WHEN accepted.confirmed THEN now() END
    FROM accepted
    WHERE s.session_id = accepted.session_id
    RETURNING s.session_id
),
checked AS (
    UPDATE asleep.sleep_sessions AS s
    SET deletion_checked_at = now()
    FROM found
    WHERE s.session_id = found.session_id
        AND s.user_id = found.user_id
        AND s.deleted_at <= now() - interval '20 hours'
        AND s.deletion_checked_at IS NULL
),
settled AS (
    UPDATE asleep.sync_failures
    SET resolved_at = now()
    WHERE failure_id IN (SELECT failure_id FROM accepted)
),
held AS (
    INSERT INTO asleep.sync_failures AS stored (user_id, session_id, kind, message)
    SELECT user_id, session_id, 'deletion_held', :message
    FROM candidates
    WHERE session_id NOT IN (SELECT session_id FROM accepted)
    ORDER BY user_id, session_id
    ON CONFLICT (user_id, coalesce(session_id, '')) WHERE resolved_at IS NULL DO UPDATE
        SET
            first_failed_at = CASE WHEN stored.kind = 'deletion_held' THEN stored.first_failed_at ELSE now() END,
            last_failed_at = now(),
            kind = excluded.kind,
            message = excluded.message,
            attempts = stored.attempts + 1
    RETURNING stored.failure_id
)
SELECT
    array(SELECT session_id FROM marked) AS deleted,
    (SELECT count(*) FROM held) AS held
