-- import.sql: reads a study from a directory of CSV files into the tables of layout.sql.
--
--   psql -X -v ON_ERROR_STOP=1 -v dir=/path/to/files -f demo/layout.sql -f demo/import.sql

-- \copy takes no variables, so the names are relative to the directory.
\cd :dir
\copy study.project FROM 'project.csv' (FORMAT csv, HEADER match)
\copy study.center FROM 'center.csv' (FORMAT csv, HEADER match)
\copy study.patient FROM 'patient.csv' (FORMAT csv, HEADER match)
\copy study.event FROM 'event.csv' (FORMAT csv, HEADER match)
\set has_readings `test -e reading.csv && echo on || echo off`
\if :has_readings
    \copy study.reading FROM 'reading.csv' (FORMAT csv, HEADER match)
\endif
\set has_answers `test -e answer.csv && echo on || echo off`
\if :has_answers
    \copy study.answer FROM 'answer.csv' (FORMAT csv, HEADER match)
\endif
ANALYZE study.project, study.center, study.patient, study.event, study.reading, study.answer;
