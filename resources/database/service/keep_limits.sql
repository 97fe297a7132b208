-- The counters of one client as they are now.
UPDATE asleep.service_limits AS kept
SET window_start = slid.window_start, used = slid.used, used_before = slid.used_before
FROM unnest(
    CAST(:scopes AS text[]), CAST(:starts AS timestamptz[]), CAST(:used AS int[]), CAST(:used_before AS int[])
) AS slid (scope, window_start, used, used_before)
WHERE kept.client = :client AND kept.scope = slid.scope
