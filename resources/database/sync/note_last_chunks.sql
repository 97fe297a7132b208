-- The last chunk of sessions read before they were ever listed: noted without calling it a change of the session.
UPDATE asleep.sleep_sessions AS s
SET last_received_seq_num = known.last_received_seq_num
FROM unnest(CAST(:session_ids AS text []), CAST(:numbers AS integer []))
    AS known (session_id, last_received_seq_num)
WHERE s.session_id = known.session_id
    AND s.last_received_seq_num IS NULL
