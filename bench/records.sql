-- records.sql: 1,000,000 records of changes of patients, in 100 transactions.
SET clinical.reason = 'benchmark';
SELECT count(*) AS patients FROM clinical.patient \gset
SELECT format('UPDATE clinical.patient SET sex = CASE sex WHEN ''F'' THEN ''M'' ELSE ''F'' END WHERE id::bigint - 10000000 BETWEEN %s AND %s',
              (n * 10000) % (:patients / 10000 * 10000) + 1, (n * 10000) % (:patients / 10000 * 10000) + 10000)
  FROM generate_series(0, 99) n \gexec
