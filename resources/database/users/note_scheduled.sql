-- Users whose deletion at the source was scheduled, or called off.
UPDATE asleep.users
SET
    to_be_deleted = :scheduled,
    to_be_deleted_since = CASE WHEN :scheduled THEN coalesce(to_be_deleted_since, now()) END
WHERE user_id = ANY (:user_ids)
    AND (to_be_deleted <> :scheduled OR (to_be_deleted_since IS NOT NULL) <> :scheduled)
