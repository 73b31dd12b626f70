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
. "$top/test/fuzz/lib.sh"

: "${GATEWAY_INPUT:=}"

fuzz_begin
find_pg_config
make -s -C "$top" gateway-fuzz PG_CONFIG="$PG_CONFIG" GATEWAY_FUZZ="$SCRATCH/gateway_fuzz"
if [ -n "$GATEWAY_INPUT" ]; then
	"$SCRATCH/gateway_fuzz" "$GATEWAY_INPUT"
	exit
fi
cp "$top"/test/fuzz/gateway/* "$SCRATCH/corpus/"
fuzz_run gateway_fuzz "what clinical-gateway reads itself" 2000 "does not hold" "GATEWAY_INPUT=$SCRATCH/crashes/... test/fuzz/gateway.sh"
