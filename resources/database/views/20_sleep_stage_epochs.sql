-- One row per session and slot of 30 seconds: the hypnogram, unfolded. Ask for one session or one user at a time.
CREATE OR REPLACE VIEW asleep.sleep_stage_epochs AS
SELECT
    session.user_id,
    session.session_id,
    session.local_date,
    session.night_date,
    session.night_role,
    session.state,
    (slot.number - 1)::integer AS epoch,
    session.session_start_time + (slot.number - 1) * interval '30 seconds' AS epoch_start_time,
    slot.sleep_stage,
    CASE slot.sleep_stage
        WHEN 0 THEN 'wake'
        WHEN 1 THEN 'light'
        WHEN 2 THEN 'deep'
        WHEN 3 THEN 'rem'
        WHEN -1 THEN 'unknown'
    END AS stage_name,
    slot.snoring_stage,
    slot.breath_stage
FROM asleep.sleep_sessions AS session
CROSS JOIN LATERAL unnest(session.sleep_stages, session.snoring_stages, session.breath_stages)
    WITH ORDINALITY AS slot (sleep_stage, snoring_stage, breath_stage, number)
WHERE session.deleted_at IS NULL;

COMMENT ON VIEW asleep.sleep_stage_epochs IS
    'One row per session and slot of 30 seconds: the hypnogram. About 900 rows a night, so always filter by '
    'session_id, or by user_id and night_date. The three series need not be equally long: the shorter ones are null '
    'at the end. Preliminary while state is not COMPLETE.';
SELECT pg_temp.keep_comments('asleep.sleep_stage_epochs', 'asleep.sleep_sessions');
COMMENT ON COLUMN asleep.sleep_stage_epochs.epoch IS 'Number of the slot in the session, from 0';
COMMENT ON COLUMN asleep.sleep_stage_epochs.epoch_start_time IS 'Start of the slot: session start + 30 s x epoch';
COMMENT ON COLUMN asleep.sleep_stage_epochs.sleep_stage IS '-1 unknown, 0 wake, 1 light, 2 deep, 3 REM';
COMMENT ON COLUMN asleep.sleep_stage_epochs.stage_name IS
    'unknown, wake, light, deep, rem; null where sleep_stage is null or holds a code that is not documented';
COMMENT ON COLUMN asleep.sleep_stage_epochs.snoring_stage IS '0 quiet, 1 snoring';
COMMENT ON COLUMN asleep.sleep_stage_epochs.breath_stage IS
    'Breathing in the slot; the codes are not documented by Asleep. Null where the contract excludes it';
