-- cdiscpilot01.sql: writes the CDISC SDTM/ADaM pilot study, as the files subjects.csv,
-- vital_signs.csv and (if there) questionnaires.csv have it, as CSV files in the layout of
-- doc/study.md.  Uses temporary tables only; any database does.
--
--   psql -X -v ON_ERROR_STOP=1 -v source=/path/to/cdiscpilot01 -v target=/path/to/empty/dir \
--        -f demo/cdiscpilot01.sql
--
-- Both paths are absolute.  Data: CDISC SDTM/ADaM Pilot Project, (c) CDISC.

SET client_min_messages = warning;
CREATE TEMP TABLE subject (
    usubjid text, subjid text, siteid text, country text, age text, ageu text, sex text, race text, ethnic text,
    armcd text, arm text, actarm text, dmdtc text, rfstdtc text, rfendtc text, rfxstdtc text, rfxendtc text,
    rfpendtc text, dthdtc text, dthfl text, disposition text, dispterm text, dispdtc text, sitegr1 text, ittfl text,
    saffl text, efffl text, comp8fl text, comp16fl text, comp24fl text, disconfl text, dsraefl text, dcreascd text,
    bmibl text, heightbl text, weightbl text, educlvl text, disonsdt text, durdis text, mmsetot text, trtsdt text,
    trtedt text);
CREATE TEMP TABLE vital_sign (
    usubjid text, vsseq integer, vstestcd text, vspos text, vstptnum text, vsorres text, vsorresu text, vsstresn text,
    vsstresu text, vsstat text, vsblfl text, visitnum text, visit text, vsdtc text, vsdy text);
CREATE TEMP TABLE questionnaire (
    usubjid text, qsseq integer, qscatcd text, qstestcd text, qsorres text, qsstresn text, qsblfl text, qsdrvfl text,
    visitnum text, visit text, qsdtc text, qsdy text);

\cd :source
\copy subject FROM 'subjects.csv' (FORMAT csv, HEADER)
\copy vital_sign FROM 'vital_signs.csv' (FORMAT csv, HEADER)
\set has_answers `test -e questionnaires.csv && echo on || echo off`
\if :has_answers
    \copy questionnaire FROM 'questionnaires.csv' (FORMAT csv, HEADER)
\endif

-- The source has calendar days and no time zone: UTC stands for "not known".
CREATE TEMP VIEW project AS
    SELECT 'CDISCPILOT01' AS code, 'Xanomeline transdermal in mild to moderate Alzheimer''s disease' AS name,
           'UTC' AS time_zone;
CREATE TEMP VIEW center AS
    SELECT DISTINCT siteid AS site_id, 'Site ' || siteid AS name, 'UTC' AS time_zone, country,
           NULL AS planned_enrolment, NULL AS enrolment_from, NULL AS enrolment_to
      FROM subject;

-- Numbers are numbers, flags are true or false, and what the source leaves empty has no key.
CREATE TEMP VIEW patient AS
    SELECT usubjid AS id, siteid AS site_id, NULL AS name, NULL AS birth_date, NULL AS birth_year, age, sex, race,
           ethnic AS ethnicity, NULL AS time_zone, 'screened' AS status, dmdtc AS status_on,
           jsonb_strip_nulls(jsonb_build_object(
               'subject', subjid, 'arm', arm, 'arm_code', armcd, 'actual_arm', actarm, 'site_group', sitegr1,
               'education_years', educlvl::numeric, 'mmse', mmsetot::numeric, 'discontinuation', dcreascd,
               'baseline', NULLIF(jsonb_strip_nulls(jsonb_build_object('bmi', bmibl::numeric,
                   'height_cm', heightbl::numeric, 'weight_kg', weightbl::numeric)), '{}'),
               'disease', NULLIF(jsonb_strip_nulls(jsonb_build_object('onset', disonsdt,
                   'duration_months', durdis::numeric)), '{}'),
               'treatment', NULLIF(jsonb_strip_nulls(jsonb_build_object('from', trtsdt, 'to', trtedt)), '{}'),
               'flags', NULLIF(jsonb_strip_nulls(jsonb_build_object('intention_to_treat', ittfl::boolean,
                   'safety', saffl::boolean, 'efficacy', efffl::boolean, 'completed_week_8', comp8fl::boolean,
                   'completed_week_16', comp16fl::boolean, 'completed_week_24', comp24fl::boolean,
                   'discontinued', disconfl::boolean, 'discontinued_for_adverse_event', dsraefl::boolean,
                   'died', dthfl::boolean)), '{}'))) AS record
      FROM subject;

CREATE TEMP VIEW event AS
    SELECT usubjid AS patient_id, e.status, e.effective_on, NULL AS site_id, e.reason
      FROM subject s
     CROSS JOIN LATERAL (VALUES
        (1, 'enrolled', s.rfstdtc, NULL),
        (2, CASE s.disposition
            WHEN 'SCREEN FAILURE' THEN 'screen_failed'
            WHEN 'COMPLETED' THEN 'completed'
            WHEN 'LOST TO FOLLOW-UP' THEN 'lost_to_follow_up'
            WHEN 'DEATH' THEN 'died'
            ELSE 'withdrawn' END,
            CASE WHEN s.disposition IS NOT NULL THEN left(s.dispdtc, 10) END,
            CASE WHEN s.disposition NOT IN ('SCREEN FAILURE', 'COMPLETED', 'DEATH') THEN s.dispterm END))
            e (no, status, effective_on, reason)
     WHERE e.effective_on IS NOT NULL
     ORDER BY s.usubjid, e.no;

-- Pressure and pulse were taken supine, then after one and three minutes standing, which 815 to 817
-- tell apart.  Noon of the day, and these minutes, keep the day in most zones and the order.  What was
-- to be measured and was not has no value and no unit.
CREATE TEMP VIEW reading AS
    SELECT usubjid AS patient_id,
           vsdtc || ' 12:' || CASE vstptnum WHEN '816' THEN '01' WHEN '817' THEN '03' ELSE '00' END || ':00+00' AS captured_at,
           'UTC' AS time_zone,
           CASE vstestcd WHEN 'SYSBP' THEN '8480-6' WHEN 'DIABP' THEN '8462-4' WHEN 'PULSE' THEN '8867-4'
                WHEN 'TEMP' THEN '8310-5' WHEN 'WEIGHT' THEN '29463-7' WHEN 'HEIGHT' THEN '8302-2' ELSE vstestcd END AS item,
           vsstresn AS value,
           CASE vsstresu WHEN 'mmHg' THEN 'mm[Hg]' WHEN 'BEATS/MIN' THEN '/min' WHEN 'C' THEN 'Cel' ELSE vsstresu END AS unit,
           visit
      FROM vital_sign
     ORDER BY usubjid, vsseq;

-- The coded value; the text as collected where there is no code.
CREATE TEMP VIEW answer AS
    SELECT usubjid AS patient_id, qsdtc || ' 12:00:00+00' AS captured_at, 'UTC' AS time_zone, qscatcd AS instrument,
           qstestcd AS item, coalesce(qsstresn, qsorres) AS value, visit
      FROM questionnaire
     ORDER BY usubjid, qsseq;

\cd :target
\copy (SELECT * FROM project) TO 'project.csv' (FORMAT csv, HEADER)
\copy (SELECT * FROM center ORDER BY site_id) TO 'center.csv' (FORMAT csv, HEADER)
\copy (SELECT * FROM patient ORDER BY id) TO 'patient.csv' (FORMAT csv, HEADER)
\copy (SELECT * FROM event) TO 'event.csv' (FORMAT csv, HEADER)
\copy (SELECT * FROM reading) TO 'reading.csv' (FORMAT csv, HEADER)
\if :has_answers
    \copy (SELECT * FROM answer) TO 'answer.csv' (FORMAT csv, HEADER)
\endif
