-- Users whose sessions must be listed again, however lately they were. Locked in one order, so that two do not
-- deadlock.
UPDATE asleep.sync_ledger
SET listed_at = 'epoch'
WHERE user_id IN (SELECT unnest(CAST(:user_ids AS text [])) ORDER BY 1)
