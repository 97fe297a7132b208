-- When finished sessions were analysed, learnt from average-stats: noted without calling it a change of the session.
UPDATE asleep.sleep_sessions AS s
SET completed_time = known.completed_time
FROM unnest(CAST(:session_ids AS text []), CAST(:completed_times AS timestamptz []))
    AS known (session_id, completed_time)
WHERE s.session_id = known.session_id
    AND s.completed_time IS DISTINCT FROM known.completed_time
