-- One row: whether webhook events of these kinds have been due for `seconds` seconds.
SELECT EXISTS (
    SELECT FROM asleep.webhook_events
    WHERE processed_at IS NULL AND next_attempt_at <= clock_timestamp() - make_interval(secs => :seconds)
        AND must_ask = ANY (:kinds)
) AS due
