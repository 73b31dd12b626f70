#!/bin/sh
# run.sh: the engine of monitoring rules against its definition; needs a C compiler only.
#
#   STREAKS=10000000   so many histories, after the fixed cases
#   SEED=...           of them; the one that was used is printed
#   CASE=...           tells that one of the seed alone
#   CC=cc
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
: "${STREAKS:=10000000}" "${SEED:=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}" "${CASE:=}" "${CC:=cc}"

scratch=$(mktemp -d "${TMPDIR:-/tmp}/streak-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
"$CC" -O2 -Wall -Wextra -Werror -I "$top/src" -o "$scratch/streak_test" \
	"$top/src/streak_day.c" "$top/src/streak_step.c" "$top/src/streak_back.c" "$top/src/streak_find.c" "$top/src/streak_match.c" \
	"$top/test/streak/streak_case.c" "$top/test/streak/streak_oracle.c" "$top/test/streak/streak_test.c"
if [ -n "$CASE" ]; then
	"$scratch/streak_test" "$SEED" "$CASE"
else
	"$scratch/streak_test" -n "$STREAKS" "$SEED"
fi
