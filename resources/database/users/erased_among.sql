-- Those of the users who were erased here and are not registered again.
SELECT wanted.user_id
FROM unnest(CAST(:ids AS text[])) AS wanted (user_id)
WHERE EXISTS (SELECT FROM asleep.erasures AS e WHERE e.user_pseudonym = asleep.pseudonym(wanted.user_id))
    AND NOT EXISTS (SELECT FROM asleep.users AS u WHERE u.user_id = wanted.user_id)
