-- gateway.sql: who calls over HTTP: a person of one center, a phone, and a statistician.  After demo/report.sql,
-- as a superuser.  Prints the shell variables of what they ask for.
\o /dev/null
CREATE ROLE demo_phone;
GRANT clinical_intake TO demo_phone;
-- has the roles of its callers, and no right of its own
CREATE ROLE demo_gateway LOGIN NOINHERIT;
GRANT demo_investigator, demo_monitor, demo_phone, demo_statistician TO demo_gateway;
\o
SELECT 'patient=' || p.id, 'code=' || r.code
  FROM clinical.membership m JOIN clinical.patient p ON p.center_id = m.center_id JOIN clinical.project r ON r.id = p.project_id
 WHERE m.role = 'demo_investigator'::regrole AND p.id ~ '^[[:alnum:]-]+$' AND r.code ~ '^[[:alnum:]-]+$' ORDER BY p.id LIMIT 1;
SELECT 'other=' || p.id FROM clinical.patient p
 WHERE p.id ~ '^[[:alnum:]-]+$' AND p.center_id NOT IN (SELECT m.center_id FROM clinical.membership m WHERE m.role = 'demo_investigator'::regrole) ORDER BY p.id LIMIT 1;
SELECT 'from=' || date_trunc('quarter', s.local_day)::date, 'until=' || (date_trunc('quarter', s.local_day) + interval '3 months')::date
  FROM clinical.submission s GROUP BY date_trunc('quarter', s.local_day) ORDER BY count(*) DESC LIMIT 1;
