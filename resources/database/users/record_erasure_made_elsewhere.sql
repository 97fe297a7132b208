-- Adds to the record an erasure that another database made, unless it is on record here.
INSERT INTO asleep.erasures (user_pseudonym, reason, rows_removed, erased_at)
SELECT :user_pseudonym, :reason, '{}', :erased_at
WHERE NOT EXISTS (SELECT FROM asleep.erasures WHERE user_pseudonym = :user_pseudonym AND erased_at >= :erased_at)
