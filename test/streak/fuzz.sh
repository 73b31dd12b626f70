#!/bin/sh
# fuzz.sh: fuzzes the engine of monitoring rules with libFuzzer: an input is a rule and a history,
# and what the engine makes of it must be what the definition says.
#
#   SECONDS_EACH=60     how long
#   SEED=...            of the run; the one that was used is printed
#   STREAK_INPUT=FILE   runs that input alone and tells it
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/test/lib.sh"

: "${SECONDS_EACH:=60}" "${SEED:=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}" "${STREAK_INPUT:=}"

WITH_CLANG=1 "$top/test/setup.sh"
make_scratch
trap 'status=$?; [ "$status" = 0 ] && rm -rf "$SCRATCH" || say "kept: $SCRATCH"; exit "$status"' EXIT
clang -g -O1 -Wall -Wextra -Werror -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I "$top/src" -o "$SCRATCH/streak_fuzz" \
	"$top/src/streak_day.c" "$top/src/streak_step.c" "$top/src/streak_back.c" "$top/src/streak_find.c" "$top/src/streak_match.c" \
	"$top/test/streak/streak_case.c" "$top/test/streak/streak_oracle.c" "$top/test/streak/streak_fuzz.c"
if [ -n "$STREAK_INPUT" ]; then
	STREAK_TELL=1 "$SCRATCH/streak_fuzz" "$STREAK_INPUT"
	exit
fi
mkdir "$SCRATCH/corpus" "$SCRATCH/crashes"
for number in 1 2 3 4 5 6 7 8; do
	head -c 600 /dev/urandom >"$SCRATCH/corpus/$number"
done
say "fuzz the engine of monitoring rules for $SECONDS_EACH s, SEED=$SEED"
status=0
(cd "$SCRATCH" && ./streak_fuzz corpus -max_total_time="$SECONDS_EACH" -seed="$SEED" -max_len=1000 -artifact_prefix=crashes/ \
	-use_value_profile=1 -print_final_stats=1 -timeout=10 >log 2>&1) || status=$?
grep -E '^(stat::|wrong:|#[0-9]+.*DONE|SUMMARY|==[0-9]+==)' "$SCRATCH/log" || tail -n 5 "$SCRATCH/log"
if [ "$status" != 0 ]; then
	ls -l "$SCRATCH/crashes"
	die "reproduce with: STREAK_INPUT=$SCRATCH/crashes/... test/streak/fuzz.sh"
fi
