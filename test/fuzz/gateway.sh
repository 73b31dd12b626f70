#!/bin/sh
# gateway.sh: fuzzes what clinical-gateway reads itself with libFuzzer, ASan and UBSan.
#
#   SECONDS_EACH=60     how long
#   SEED=...            of the run; the one that was used is printed
#   GATEWAY_INPUT=FILE  runs that input alone
#   PG_CONFIG=...       another PostgreSQL than that of Debian's package "postgresql"
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/test/lib.sh"

: "${SECONDS_EACH:=60}" "${SEED:=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}" "${GATEWAY_INPUT:=}"

WITH_CLANG=1 "$top/test/setup.sh"
find_pg_config
make_scratch
trap 'status=$?; [ "$status" = 0 ] && rm -rf "$SCRATCH" || say "kept: $SCRATCH"; exit "$status"' EXIT
make -s -C "$top" gateway-fuzz PG_CONFIG="$PG_CONFIG" GATEWAY_FUZZ="$SCRATCH/gateway_fuzz"
if [ -n "$GATEWAY_INPUT" ]; then
	"$SCRATCH/gateway_fuzz" "$GATEWAY_INPUT"
	exit
fi
mkdir "$SCRATCH/corpus" "$SCRATCH/crashes"
cp "$top"/test/fuzz/gateway/* "$SCRATCH/corpus/"
say "fuzz what clinical-gateway reads itself for $SECONDS_EACH s, SEED=$SEED"
status=0
(cd "$SCRATCH" && ./gateway_fuzz corpus -max_total_time="$SECONDS_EACH" -seed="$SEED" -max_len=2000 -artifact_prefix=crashes/ \
	-use_value_profile=1 -print_final_stats=1 -timeout=10 >log 2>&1) || status=$?
grep -E '^(stat::|does not hold|#[0-9]+.*DONE|SUMMARY|==[0-9]+==)' "$SCRATCH/log" || tail -n 5 "$SCRATCH/log"
if [ "$status" != 0 ]; then
	ls -l "$SCRATCH/crashes"
	die "reproduce with: GATEWAY_INPUT=$SCRATCH/crashes/... test/fuzz/gateway.sh"
fi
