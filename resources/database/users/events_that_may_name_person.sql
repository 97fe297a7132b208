-- Events that may name a person: as the id is, or spelled with a backslash or in UTF-16 or UTF-32, or without a user in
-- the header.
SELECT event_id, headers, body
FROM asleep.webhook_events
WHERE trim(headers ->> 'x-user-id') = ANY (:in_headers)
    OR position(convert_to(:user_id, 'UTF8') IN body) > 0
    OR position('\x5c'::bytea IN body) > 0
    OR position('\x00'::bytea IN body) > 0
    OR trim(coalesce(headers ->> 'x-user-id', '')) = ''
