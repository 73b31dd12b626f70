# lib.sh: functions that the benchmarks share; sourced after test/lib.sh.
# They use $top, $SCRATCH, $ROUNDS, $KEEP and $names.

# Ends the script unless these variables are whole numbers from 1 on.
whole_numbers() {
	for number; do
		eval "number_value=\$$number"
		case "$number_value" in
		'' | 0* | *[!0-9]*) die "$number: a whole number from 1 on" ;;
		esac
	done
}

# choose_names "ALL NAMES" NAME...: sets names to what is to be run.
choose_names() {
	all=$1
	shift
	names=${*:-$all}
	for name in $names; do
		case " $all " in
		*" $name "*) ;;
		*) die "no benchmark $name; there are: $all" ;;
		esac
	done
}

# True if one of the benchmarks NAME... is to be run.
wanted() {
	for one; do
		case " $names " in
		*" $one "*) return 0 ;;
		esac
	done
	return 1
}

# bench_cluster "SETTING = VALUE"...: builds the extension and starts a private cluster with it.
bench_cluster() {
	"$top/test/setup.sh"
	find_pg_config
	trap finish EXIT
	trap 'exit 1' INT TERM
	if [ -n "${BENCH_DIR:-}" ]; then
		TMPDIR=$BENCH_DIR
	fi
	make_scratch
	say "build with $("$PG_CONFIG" --version)"
	stage_build "$top" "$SCRATCH"
	{
		cat "$SCRATCH/stage.conf"
		echo "shared_preload_libraries = 'clinical'"
		echo "shared_buffers = 2GB"
		echo "max_wal_size = 8GB"
		echo "checkpoint_timeout = 1h"
		printf '%s\n' "$@"
	} >"$SCRATCH/bench.conf"
	cluster_create "$SCRATCH" "$SCRATCH/bench.conf"
	cluster_start "$SCRATCH"
}

# Stops what runs, shows why it failed if it did, and removes the data.
finish() {
	status=$?
	trap - EXIT INT TERM
	[ -n "${SCRATCH:-}" ] || exit "$status"
	if [ "$status" != 0 ]; then
		say "FAILED; the end of the server's log:" >&2
		as_user tail -n 20 "$SCRATCH/server.log" >&2 || :
	fi
	if [ -n "$KEEP" ] && cluster_running "$SCRATCH"; then
		say "it still runs: psql -U postgres -h $(cluster_host "$SCRATCH"); its files are in $SCRATCH"
	else
		cluster_stop "$SCRATCH" && rm -rf "$SCRATCH"
	fi
	exit "$status"
}

# Runs a file or a command in the cluster, silently.
sql() { cluster_psql "$SCRATCH" -q "$@" >/dev/null; }

# Prints one value.
ask() { cluster_psql "$SCRATCH" -At -c "$1"; }

# Prints the type of the file system that the cluster is on.
filesystem() { df -T "$SCRATCH" | awk 'END { print $2 }'; }

# Prints what all figures depend on.
print_machine() {
	echo
	echo "machine:    $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, $(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo), data on $(filesystem)"
	echo "versions:   $("$PG_CONFIG" --version), clinical $(ask "SELECT extversion FROM pg_extension WHERE extname = 'clinical'"), commit $(git -C "$top" describe --always --dirty 2>/dev/null || echo none)"
}

# Prints that percentile of the numbers it reads; between two of them, in proportion.
percentile() {
	sort -n | awk -v p="$1" '{ a[NR] = $1 }
		END { at = (NR - 1) * p / 100 + 1; i = int(at); print a[i] + (at - i) * (a[i < NR ? i + 1 : i] - a[i]) }'
}

# compare NAME CLIENTS UNIT TARGET PAIRS MEASURE...: one row of the table.  MEASURE SCRIPT [ARG...]
# prints a figure.  A round measures so many pairs, ours plain, plain ours, ours plain ..., each
# pair gives a ratio, and their median is the round's.
compare() {
	name=$1 clients=$2 unit=$3 target=$4 pairs=$5 measure=$6
	shift 6
	say "$name, clients: $clients"
	: >"$SCRATCH/rounds"
	: >"$SCRATCH/pairs"
	round=0 flip=
	while [ "$round" -lt "$ROUNDS" ]; do
		round=$((round + 1)) pair=0
		: >"$SCRATCH/round"
		while [ "$pair" -lt "$pairs" ]; do
			pair=$((pair + 1))
			[ -z "$flip" ] || plain=$($measure "$name.plain" "$@")
			ours=$($measure "$name" "$@")
			[ -n "$flip" ] || plain=$($measure "$name.plain" "$@")
			[ -n "$flip" ] && flip= || flip=1
			echo "$ours $plain" | awk '{ print $1, $2, $1 / $2 }' >>"$SCRATCH/round"
		done
		cat "$SCRATCH/round" >>"$SCRATCH/pairs"
		awk '{ print $3 }' "$SCRATCH/round" | percentile 50 >>"$SCRATCH/rounds"
	done
	{
		awk '{ print $1 }' "$SCRATCH/pairs" | percentile 50
		awk '{ print $2 }' "$SCRATCH/pairs" | percentile 50
		percentile 50 <"$SCRATCH/rounds"
		percentile 0 <"$SCRATCH/rounds"
		percentile 100 <"$SCRATCH/rounds"
	} | paste -s - | awk -v name="$name" -v clients="$clients" -v unit="$unit" -v target="$target" '{
		printf "%-15s %7s  %-7s %10.5g %10.5g  %6.3f (%.3f to %.3f)  %s\n", name, clients, unit, $1, $2, $3, $4, $5, target }' \
		>"$SCRATCH/row"
	cat "$SCRATCH/row"
	cat "$SCRATCH/row" >>"$SCRATCH/ratios"
}

# sql_in DATABASE args...: psql, silently; ask_in DATABASE SQL: prints one value.
sql_in() (
	database=$1
	shift
	sql -d "$database" "$@"
)
ask_in() { cluster_psql "$SCRATCH" -d "$1" -At -c "$2"; }

# Makes a copy of the database that has the data, or makes it anew.
copy_database() {
	sql_in template1 -c "SET client_min_messages = warning" -c "DROP DATABASE IF EXISTS $1 WITH (FORCE)" -c "CREATE DATABASE $1 TEMPLATE postgres STRATEGY file_copy"
}

drop_database() { sql_in template1 -c "SET client_min_messages = warning" -c "DROP DATABASE IF EXISTS $1 WITH (FORCE)"; }

# True if the server has that setting, or function.
has_setting() { [ "$(ask "SELECT count(*) FROM pg_settings WHERE name = '$1'")" = 1 ]; }
has_function() { [ "$(ask "SELECT to_regproc('clinical.$1') IS NOT NULL")" = t ]; }

# set_to SETTING VALUE: for the whole server, or back to the default.
set_to() {
	case $2 in
	DEFAULT) sql -c "ALTER SYSTEM RESET $1" -c "SELECT pg_reload_conf()" ;;
	*) sql -c "ALTER SYSTEM SET $1 = $2" -c "SELECT pg_reload_conf()" ;;
	esac
	sleep 0.3
}

# figure NAME WHAT VALUE UNIT RATIO TARGET: one row of the table of figures.
figure() {
	printf '%-13s %-34s %10s %-9s %-26s %s\n' "$@" | sed 's/ *$//' >"$SCRATCH/row"
	cat "$SCRATCH/row"
	cat "$SCRATCH/row" >>"$SCRATCH/figures"
}

# calc EXPRESSION [FORMAT]: prints it.
calc() { awk "BEGIN { printf \"${2:-%.5g}\", $1 }"; }

# Prints the median of the numbers it reads, with the lowest and the highest.
spread() (
	sort -n >"$SCRATCH/spread"
	printf '%.3f (%.3f to %.3f)\n' "$(percentile 50 <"$SCRATCH/spread")" "$(percentile 0 <"$SCRATCH/spread")" "$(percentile 100 <"$SCRATCH/spread")"
)
median() { percentile 50 <"$1"; }

# The time, in seconds.
clock() { date +%s.%N; }

# seconds_in DATABASE SQL: prints how long a statement takes.
seconds_in() (
	out=$(cluster_psql "$SCRATCH" -d "$1" -c '\timing on' -c "$2") || return 1
	echo "$out" | awk '/^Time: [0-9.]+ ms/ { print $2 / 1000; found = 1 } END { exit !found }'
)

# drain_rate DATABASE: submits what waits and prints how many reports a second the workers store.
drain_rate() (
	sql_in "$1" -c 'SELECT clinical.stop_workers()' -c 'CALL bench.submit_waiting()' -c CHECKPOINT || return 1
	staged=$(ask_in "$1" 'SELECT count(*) FROM clinical.staged_report')
	begin=$(clock)
	sql_in "$1" -c 'SELECT clinical.start_workers()' -c 'CALL bench.wait_drained()' || return 1
	calc "$staged / ($(clock) - $begin)"
)
