#!/bin/sh
# run.sh: fuzzes the validator and what reads definitions with libFuzzer, in a server process.
#
#   SECONDS_EACH=60     how long
#   SEED=...            of the run; the one that was used is printed
#   INPUT=FILE          runs that input alone, to reproduce a crash
#   CORPUS=DIR          keeps and reuses inputs that reach new code (default: none are kept)
#   PG_CONFIG=...       another PostgreSQL than that of Debian's package "postgresql"
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/test/lib.sh"
. "$top/test/fuzz/lib.sh"

: "${INPUT:=}" "${CORPUS:=}"

fuzz_begin
find_pg_config
runtime=$(clang --print-runtime-dir)/libclang_rt.fuzzer_no_main-$(uname -m).a
[ -e "$runtime" ] || die "no $runtime: libFuzzer's library is in Debian's libclang-rt-dev"

say "build with $(clang --version | head -n 1)"
stage_build "$top" "$SCRATCH" CC=clang FUZZ="$runtime"
[ -z "$CORPUS" ] || cp -r "$CORPUS/." "$SCRATCH/corpus/"
# the texts of some reports, as inputs of the first mode, against each definition
number=0
for text in '{"8480-6": 120, "8462-4": {"value": 12, "unit": "kPa"}}' '{"taken": false, "reason": "forgotten"}' '{"72514-3": 11}' \
	'{"int": 3, "dec": 70.25, "day": "2012-02", "meals": [{"food": "rice", "parts": [{"grams": 1}]}], "pill": [{"value": "A", "items": {"dose": 5}}]}' \
	'{"resourceType": "QuestionnaireResponse", "status": "completed", "item": [{"linkId": "int", "answer": [{"valueInteger": 3}]}, {"linkId": "meals", "item": [{"linkId": "food", "answer": [{"valueString": "x"}]}]}]}'; do
	for which in 000 001 002 003; do
		number=$((number + 1))
		printf "\\000\\$which%s" "$text" >"$SCRATCH/corpus/text-$number"
	done
done
head -c 300 /dev/zero | tr '\000' '\001' >"$SCRATCH/corpus/made"
{ printf '\002\003'; head -c 2000 /dev/zero; } >"$SCRATCH/corpus/definition"
{ printf '\003\003'; head -c 3000 /dev/zero; } >"$SCRATCH/corpus/questionnaire"
{ printf '\007\003'; head -c 3000 /dev/zero; } >"$SCRATCH/corpus/questionnaire5"
for rule in 010 030 050 070 110 130; do
	{ printf "\\$rule\\000"; head -c 500 /dev/zero; } >"$SCRATCH/corpus/rule-$rule"
done
give_to_user "$SCRATCH/corpus"

cat "$SCRATCH/stage.conf" | as_user tee "$SCRATCH/fuzz.conf" >/dev/null
cluster_create "$SCRATCH" "$SCRATCH/fuzz.conf"
as_user touch "$SCRATCH/data/socket.conf"
if [ -n "$INPUT" ]; then
	cp "$INPUT" "$SCRATCH/input"
	give_to_user "$SCRATCH/input"
	arguments="'$SCRATCH/input'"
else
	arguments="'$SCRATCH/corpus', '-max_total_time=$SECONDS_EACH', '-seed=$SEED', '-max_len=4096', '-print_final_stats=1', '-timeout=10'"
fi
say "fuzz for $SECONDS_EACH s, SEED=$SEED"
# the single-user mode reads one statement a line
{
	echo "CREATE EXTENSION clinical"
	echo "CREATE FUNCTION fuzz(jsonb[], text[]) RETURNS void LANGUAGE C STRICT AS 'clinical', 'clinical_fuzz'"
	echo "SELECT fuzz(($(grep -v '^--' "$top/test/fuzz/definitions.sql" | tr '\n' ' ')), ARRAY['-rss_limit_mb=4096', '-artifact_prefix=$SCRATCH/crashes/', '-use_value_profile=1', $arguments])"
} | as_user tee "$SCRATCH/script" >/dev/null
status=0
as_user sh -c '"$1" --single -D "$2" postgres <"$3" >"$4" 2>&1' sh "$("$PG_CONFIG" --bindir)/postgres" "$SCRATCH/data" "$SCRATCH/script" "$SCRATCH/log" || status=$?
grep -E '^(stat::|#[0-9]+.*DONE|does not hold|SUMMARY|==[0-9]+==)|ERROR|Executed' "$SCRATCH/log" || tail -n 5 "$SCRATCH/log"
[ -z "$CORPUS" ] || cp -r "$SCRATCH/corpus/." "$CORPUS/"
if [ -n "$(ls "$SCRATCH/crashes")" ] || [ "$status" != 0 ]; then
	ls -l "$SCRATCH/crashes"
	die "reproduce with: make fuzz INPUT=$SCRATCH/crashes/..."
fi
grep -q 'DONE\|Executed' "$SCRATCH/log" || die "it did not run: see $SCRATCH/log"
