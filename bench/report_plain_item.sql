-- report_plain_item.sql: the tables of items, codes and corrections of a report by functions of PostgreSQL alone.
-- One pass over the observations counts values, as a statistician who knows that scores have few would do it; the
-- figures of months, of the whole period and of both with and without the split are made of these counts.
WITH
patient AS (
    SELECT p.id, p.record ->> 'arm' AS arm,
           EXISTS (SELECT FROM clinical.enrollment_event e WHERE e.patient_id = p.id AND e.status = 'enrolled' AND e.effective_on < :'end_day' AND e.recorded_at <= :'cut_off') AS enrolled
      FROM clinical.patient p
      JOIN clinical.project j ON j.id = p.project_id
     WHERE j.code = :'project'),
counted AS MATERIALIZED (
    SELECT p.arm, o.item, o.unit, o.local_day, o.value, o.absent IS NULL AS given, o.version > 1 AS corrected, o.flagged, count(*) AS count
      FROM clinical.observation o
      JOIN patient p ON p.id = o.patient_id
     WHERE o.local_day >= :'first_day' AND o.local_day < :'end_day' AND o.recorded_at <= :'cut_off'
       AND NOT EXISTS (SELECT FROM clinical.observation n WHERE n.patient_id = o.patient_id AND n.id = o.id AND n.version > 1 AND n.version > o.version
                          AND n.recorded_at <= :'cut_off')
       AND NOT EXISTS (SELECT FROM clinical.submission s WHERE s.patient_id = o.patient_id AND s.id = o.submission_id AND s.status <> 'accepted')
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8)
SELECT count(*), sum(count) FROM counted;
