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
. "$top/test/fuzz/lib.sh"

: "${STREAK_INPUT:=}"

fuzz_begin
clang -g -O1 -Wall -Wextra -Werror -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I "$top/src" -o "$SCRATCH/streak_fuzz" \
	"$top/src/streak_day.c" "$top/src/streak_step.c" "$top/src/streak_back.c" "$top/src/streak_find.c" "$top/src/streak_match.c" \
	"$top/test/streak/streak_case.c" "$top/test/streak/streak_oracle.c" "$top/test/streak/streak_fuzz.c"
if [ -n "$STREAK_INPUT" ]; then
	STREAK_TELL=1 "$SCRATCH/streak_fuzz" "$STREAK_INPUT"
	exit
fi
for number in 1 2 3 4 5 6 7 8; do
	head -c 600 /dev/urandom >"$SCRATCH/corpus/$number"
done
fuzz_run streak_fuzz "the engine of monitoring rules" 1000 "wrong:" "STREAK_INPUT=$SCRATCH/crashes/... test/streak/fuzz.sh"
