-- summary: exact statistics, as aggregates.

CREATE TYPE clinical.description AS (
    n       bigint,
    missing bigint,
    mean    numeric,
    sd      numeric,
    min     numeric,
    q1      numeric,
    median  numeric,
    q3      numeric,
    max     numeric
);
COMMENT ON TYPE clinical.description IS
'What describe() gives of numeric values: how many there are and how many are missing (null), mean (as avg gives it), standard deviation (as stddev_samp gives it; null for one value), minimum, quartiles (SAS''s PCTLDEF=5, R''s type 2), maximum; null if there is no value.';
CREATE TYPE clinical.double_description AS (
    n       bigint,
    missing bigint,
    mean    double precision,
    sd      double precision,
    min     double precision,
    q1      double precision,
    median  double precision,
    q3      double precision,
    max     double precision
);
COMMENT ON TYPE clinical.double_description IS
'What describe() gives of values of double precision: as description, with the exact mean and standard deviation rounded once, to the nearest.';

-- What the aggregates are made of.  One function serves values of all types; it sees which it gets.
CREATE FUNCTION clinical.describe_add(state internal, value "any") RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_describe_add';
COMMENT ON FUNCTION clinical.describe_add(internal, "any") IS
'For the aggregate describe. SQLSTATE: 54000 too many distinct values for a window function.';
CREATE FUNCTION clinical.describe_add(state internal, value "any", frequency bigint) RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_describe_add_counted';
COMMENT ON FUNCTION clinical.describe_add(internal, "any", bigint) IS
'For the aggregate describe. SQLSTATE: 22023 frequency is required, frequency must not be negative; 22003 bigint out of range; 54000 too many distinct values for a window function.';
CREATE FUNCTION clinical.quantile_add(state internal, value "any", fraction "any") RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_quantile_add';
COMMENT ON FUNCTION clinical.quantile_add(internal, "any", "any") IS
'For the aggregate quantile_sas. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function.';
CREATE FUNCTION clinical.quantile_add(state internal, value "any", frequency bigint, fraction "any") RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_quantile_add_counted';
COMMENT ON FUNCTION clinical.quantile_add(internal, "any", bigint, "any") IS
'For the aggregate quantile_sas. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows, frequency is required, must not be negative; 22003 bigint out of range; 54000 too many distinct values for a window function.';
CREATE FUNCTION clinical.summary_combine(state internal, other internal) RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_summary_combine';
COMMENT ON FUNCTION clinical.summary_combine(internal, internal) IS
'For the aggregates describe and quantile_sas, in parallel. SQLSTATE: 22023 fraction must be the same for all rows; 22003 bigint out of range.';
CREATE FUNCTION clinical.summary_pack(state internal) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_summary_pack';
COMMENT ON FUNCTION clinical.summary_pack(internal) IS
'For the aggregates describe and quantile_sas, in parallel. SQLSTATE: 54000 too many distinct values for a parallel query.';
CREATE FUNCTION clinical.summary_unpack(packed bytea, unused internal) RETURNS internal
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_summary_unpack';
COMMENT ON FUNCTION clinical.summary_unpack(bytea, internal) IS
'For the aggregates describe and quantile_sas, in parallel. SQLSTATE: none of its own.';
CREATE FUNCTION clinical.describe_numeric(state internal) RETURNS clinical.description
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_describe_result';
COMMENT ON FUNCTION clinical.describe_numeric(internal) IS
'For the aggregate describe. SQLSTATE: none of its own.';
CREATE FUNCTION clinical.describe_double(state internal) RETURNS clinical.double_description
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_describe_result';
COMMENT ON FUNCTION clinical.describe_double(internal) IS
'For the aggregate describe. SQLSTATE: 22003 value out of range: overflow.';
CREATE FUNCTION clinical.quantile_numeric(state internal) RETURNS numeric
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_quantile_result';
COMMENT ON FUNCTION clinical.quantile_numeric(internal) IS
'For the aggregate quantile_sas. SQLSTATE: none of its own.';
CREATE FUNCTION clinical.quantile_double(state internal) RETURNS double precision
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_quantile_result';
COMMENT ON FUNCTION clinical.quantile_double(internal) IS
'For the aggregate quantile_sas. SQLSTATE: none of its own.';
CREATE FUNCTION clinical.quantiles_numeric(state internal) RETURNS numeric[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_quantile_result';
COMMENT ON FUNCTION clinical.quantiles_numeric(internal) IS
'For the aggregate quantile_sas. SQLSTATE: none of its own.';
CREATE FUNCTION clinical.quantiles_double(state internal) RETURNS double precision[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'clinical_quantile_result';
COMMENT ON FUNCTION clinical.quantiles_double(internal) IS
'For the aggregate quantile_sas. SQLSTATE: none of its own.';

-- Whole numbers have aggregates of their own: PostgreSQL prefers double precision to numeric for them.
CREATE AGGREGATE clinical.describe(value numeric) (
    SFUNC = clinical.describe_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.describe_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.describe(numeric) IS
'n, missing, mean, SD, minimum, quartiles, maximum of the values; null is missing. A row of description, exact. SQLSTATE: 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.describe(value smallint) (
    SFUNC = clinical.describe_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.describe_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.describe(smallint) IS
'n, missing, mean, SD, minimum, quartiles, maximum of the values; null is missing. A row of description, exact. SQLSTATE: 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.describe(value integer) (
    SFUNC = clinical.describe_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.describe_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.describe(integer) IS
'n, missing, mean, SD, minimum, quartiles, maximum of the values; null is missing. A row of description, exact. SQLSTATE: 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.describe(value bigint) (
    SFUNC = clinical.describe_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.describe_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.describe(bigint) IS
'n, missing, mean, SD, minimum, quartiles, maximum of the values; null is missing. A row of description, exact. SQLSTATE: 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.describe(value double precision) (
    SFUNC = clinical.describe_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.describe_double,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.describe(double precision) IS
'n, missing, mean, SD, minimum, quartiles, maximum of the values; null is missing. A row of double_description, each figure rounded once. SQLSTATE: 22003 value out of range: overflow; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.describe(value numeric, frequency bigint) (
    SFUNC = clinical.describe_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.describe_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.describe(numeric, bigint) IS
'As describe(numeric), of values that occur frequency times (0: not at all). SQLSTATE: 22023 frequency is required, frequency must not be negative; 22003 bigint out of range; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value numeric, fraction numeric) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantile_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(numeric, numeric) IS
'The quantile of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value numeric, fractions numeric[]) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantiles_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(numeric, numeric[]) IS
'The quantiles, in the order of the fractions, of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value smallint, fraction numeric) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantile_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(smallint, numeric) IS
'The quantile of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value smallint, fractions numeric[]) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantiles_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(smallint, numeric[]) IS
'The quantiles, in the order of the fractions, of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value integer, fraction numeric) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantile_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(integer, numeric) IS
'The quantile of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value integer, fractions numeric[]) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantiles_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(integer, numeric[]) IS
'The quantiles, in the order of the fractions, of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value bigint, fraction numeric) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantile_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(bigint, numeric) IS
'The quantile of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value bigint, fractions numeric[]) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantiles_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(bigint, numeric[]) IS
'The quantiles, in the order of the fractions, of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value numeric, fraction double precision) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantile_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(numeric, double precision) IS
'The quantile of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. The fraction is what its shortest decimal form says. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value numeric, fractions double precision[]) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantiles_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(numeric, double precision[]) IS
'The quantiles, in the order of the fractions, of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. A fraction is what its shortest decimal form says. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value double precision, fraction double precision) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantile_double,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(double precision, double precision) IS
'The quantile of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. The fraction is what its shortest decimal form says. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value double precision, fractions double precision[]) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantiles_double,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(double precision, double precision[]) IS
'The quantiles, in the order of the fractions, of the values that are not null, as SAS has it by default (PCTLDEF=5; R''s type 2). With n values and n * fraction = j + g (j whole), (x_j + x_j+1) / 2 if g = 0, else x_j+1; 0: the minimum, 1: the maximum; null if there is no value. A fraction is what its shortest decimal form says. SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value numeric, frequency bigint, fraction numeric) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantile_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(numeric, bigint, numeric) IS
'As quantile_sas(numeric, numeric), of values that occur frequency times (0: not at all). SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows, frequency is required, must not be negative; 22003 bigint out of range; 54000 too many distinct values for a window function, for a parallel query.';
CREATE AGGREGATE clinical.quantile_sas(value numeric, frequency bigint, fractions numeric[]) (
    SFUNC = clinical.quantile_add, STYPE = internal, SSPACE = 1024, FINALFUNC = clinical.quantiles_numeric,
    COMBINEFUNC = clinical.summary_combine, SERIALFUNC = clinical.summary_pack, DESERIALFUNC = clinical.summary_unpack,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE clinical.quantile_sas(numeric, bigint, numeric[]) IS
'As quantile_sas(numeric, numeric[]), of values that occur frequency times (0: not at all). SQLSTATE: 22023 fraction is required, must be between 0 and 1, must be the same for all rows, frequency is required, must not be negative; 22003 bigint out of range; 54000 too many distinct values for a window function, for a parallel query.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA clinical FROM PUBLIC;
GRANT EXECUTE ON FUNCTION clinical.describe(numeric),
    clinical.describe(smallint),
    clinical.describe(integer),
    clinical.describe(bigint),
    clinical.describe(double precision),
    clinical.describe(numeric, bigint),
    clinical.quantile_sas(numeric, numeric),
    clinical.quantile_sas(numeric, numeric[]),
    clinical.quantile_sas(smallint, numeric),
    clinical.quantile_sas(smallint, numeric[]),
    clinical.quantile_sas(integer, numeric),
    clinical.quantile_sas(integer, numeric[]),
    clinical.quantile_sas(bigint, numeric),
    clinical.quantile_sas(bigint, numeric[]),
    clinical.quantile_sas(numeric, double precision),
    clinical.quantile_sas(numeric, double precision[]),
    clinical.quantile_sas(double precision, double precision),
    clinical.quantile_sas(double precision, double precision[]),
    clinical.quantile_sas(numeric, bigint, numeric),
    clinical.quantile_sas(numeric, bigint, numeric[])
    TO clinical_admin, clinical_investigator, clinical_monitor, clinical_data_manager, clinical_statistician, clinical_auditor;
