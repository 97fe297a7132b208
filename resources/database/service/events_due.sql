-- One row: whether webhook events wait that may be handled now.
SELECT EXISTS (
    SELECT FROM asleep.webhook_events WHERE processed_at IS NULL AND next_attempt_at <= clock_timestamp()
) AS due
