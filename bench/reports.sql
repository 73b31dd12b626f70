-- 1,000,000 reports of six items, no two alike, for the validator.
CREATE TABLE bench.report AS
    SELECT jsonb_build_object('8480-6', 90 + i % 97 + (i % 10) / 10.0, '8462-4', 60 + i % 41, '8867-4', 50 + i % 73,
                              '8310-5', 36 + (i % 211) / 100.0, '59408-5', 92 + i % 8, '29463-7', 50 + i / 10000.0) AS data
      FROM generate_series(1, 1000000) i;
SELECT instrument FROM clinical.create_instrument((SELECT definition FROM clinical.shipped_instruments() WHERE code = 'vital-signs'));
VACUUM (FREEZE, ANALYZE) bench.report;
