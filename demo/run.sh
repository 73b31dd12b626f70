#!/bin/sh
# run.sh: builds the extension, starts a private server in ./tmp_demo, loads a study, shows it,
# checks it, sends its reports (intake.sh), watches them by a rule, and calls it over HTTP (gateway.sh).  The server goes
# on running.  Touches nothing outside the checkout (but see private_dir in test/lib.sh).
#
#   demo/run.sh         a simulated study
#   demo/run.sh stop    stops the server and removes it
#
#   DATA=DIR        a study from CSV files (doc/study.md), or a directory with the pilot study
#                   of CDISC, which is converted
#   PG_CONFIG=...   another PostgreSQL than that of Debian's package "postgresql"
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/test/lib.sh"
. "$top/demo/intake.sh"
. "$top/demo/gateway.sh"
link=$top/tmp_demo

# Stops and removes the demo server; status 1 if there is none.
remove_demo() {
	[ -e "$link" ] || [ -L "$link" ] || return 1
	dir=$(readlink -f "$link")
	# what we did not make we do not remove
	[ -e "$dir/pg_config" ] || [ -z "$(ls -A "$dir" 2>/dev/null)" ] || die "$dir is not the demo's"
	gateway_stop "$dir"
	if [ -d "$dir/data" ]; then
		own=$(as_user cat "$dir/pg_config" 2>/dev/null) || own=${PG_CONFIG:-}
		(
			PG_CONFIG=$own
			find_pg_config
			cluster_stop "$dir"
		) || die "cannot stop the server in $dir"
		# another user's server, which we could not ask
		pid=$(head -n 1 "$dir/data/postmaster.pid" 2>/dev/null) || :
		[ -z "$pid" ] || [ ! -d "/proc/$pid" ] || die "the server in $dir (process $pid) is not ours to stop"
	fi
	rm -rf "$dir" "$link" || die "cannot remove $dir"
}

# Runs psql in the demo's database.
sql() { cluster_psql "$dir" -q -P pager=off -d clinical "$@"; }

# Prints what a query gives, bare.
tell() { sql -A -t -c "$1"; }

# gives VALUE SQL: does it?
gives() { [ "$(tell "$2")" = "$1" ]; }

# Copies the files NAME... from data to the directory DEST of the server's user; the caller may read
# what that user may not.
hand_over() (
	dest=$1
	shift
	mkdir -p "$dest"
	for name; do
		[ ! -e "$data/$name" ] || cp "$data/$name" "$dest/"
	done
	give_to_user "$dest"
)

finish() {
	status=$?
	trap - EXIT
	if [ "$status" != 0 ] && [ -n "${dir:-}" ]; then
		say "FAILED; the server's log is $dir/server.log" >&2
		if cluster_running "$dir"; then
			say "the server still runs, for a look: make demo-stop ends it" >&2
		fi
	fi
	exit "$status"
}

case "${1:-}" in
'') ;;
stop)
	if remove_demo; then
		say "the demo server is stopped and removed"
	else
		say "there is no demo server"
	fi
	exit 0
	;;
*) die "usage: demo/run.sh [stop]" ;;
esac

# What to load is known before anything is built.
study=simulated
if [ -n "${DATA:-}" ]; then
	data=$(cd "$DATA" 2>/dev/null && pwd) || die "no directory $DATA"
	if [ -e "$data/subjects.csv" ] && [ -e "$data/vital_signs.csv" ]; then
		study=cdiscpilot01
	else
		study=files
		for name in project center patient event; do
			[ -r "$data/$name.csv" ] || die "$data has no $name.csv that can be read; doc/study.md says what it takes"
		done
	fi
fi

"$top/test/setup.sh"
find_pg_config
if remove_demo; then
	say "the demo server of before is stopped and removed"
fi
dir=
trap finish EXIT
trap 'exit 1' INT TERM
dir=$(private_dir "$link")
RUN_HOME=$dir
echo "$PG_CONFIG" | as_user tee "$dir/pg_config" >/dev/null

say "building with $("$PG_CONFIG" --version), in $dir/build"
stage_build "$top" "$dir"
say "starting a server of its own, in $dir/data"
{
	cat "$dir/stage.conf"
	if [ -e "$("$PG_CONFIG" --pkglibdir)/pg_cron.so" ]; then
		echo "shared_preload_libraries = 'clinical, pg_cron'"
		echo "cron.database_name = 'clinical'"
		echo "cron.use_background_workers = on"
	else
		echo "shared_preload_libraries = 'clinical'"
	fi
	# for ten workers, reports and pg_cron's jobs; each is a process
	echo "max_worker_processes = 30"
	echo "clinical.max_workers = 10"
} >"$dir/demo.conf"
cluster_create "$dir" "$dir/demo.conf"
cluster_start "$dir"
cluster_psql "$dir" -q -d postgres -c 'CREATE DATABASE clinical'
sql -c 'CREATE EXTENSION clinical'
if [ -e "$("$PG_CONFIG" --pkglibdir)/pg_cron.so" ]; then
	sql -c 'CREATE EXTENSION pg_cron'
fi

demo=$dir/build/demo	# a copy that the server's user can read
sql -f "$demo/layout.sql"
case $study in
simulated)
	say "simulating a study: home blood pressure, 300 patients at 17 centers, half a year"
	sql -f "$demo/simulate.sql"
	simulated=on
	;;
files)
	say "reading the study in $data"
	hand_over "$dir/csv" project.csv center.csv patient.csv event.csv reading.csv answer.csv
	sql -v dir="$dir/csv" -f "$demo/import.sql"
	simulated=off
	;;
cdiscpilot01)
	say "$data is the CDISC pilot study: converting it to the layout of doc/study.md, in $dir/csv"
	hand_over "$dir/source" subjects.csv vital_signs.csv questionnaires.csv
	as_user mkdir "$dir/csv"
	sql -v source="$dir/source" -v target="$dir/csv" -f "$demo/cdiscpilot01.sql"
	sql -v dir="$dir/csv" -f "$demo/import.sql"
	simulated=off
	;;
esac
say "loading it into the extension"
sql -o /dev/null -f "$demo/load.sql"

say "a look at it (demo/show.sql)"
sql -f "$demo/show.sql"

say "checking that the extension holds what is expected (demo/check.sql)"
sql -v simulated="$simulated" -f "$demo/check.sql"

if [ "$simulated" = on ]; then originator=subject; else originator=import; fi
intake "$originator" "$simulated"

say "a monitoring rule, and the alerts that it raises (demo/monitor.sql)"
sql -f "$demo/monitor.sql"

say "the report of a quarter (demo/report.sql)"
sql -v file="$dir/report.html" -f "$demo/report.sql"

say "what was counted meanwhile (demo/observe.sql)"
sql -v file="$dir/metrics.txt" -f "$demo/observe.sql"

say "patients and reports over HTTP (demo/gateway.sh)"
url='(not built)'
gateway

cat <<EOF
==> all is as expected, the balance is the one that the seed demands, and the alerts those of a window
    query; the server goes on running

    report:   $dir/report.html
    metrics:  $dir/metrics.txt (doc/observe.md)
    gateway:  $url (doc/http.md), its log $dir/gateway.log

    connect:  $("$PG_CONFIG" --bindir)/psql -U postgres -h $(cluster_host "$dir") -d clinical
    stop:     make demo-stop      (stops and removes it)

    In schema clinical there is the extension (\\df+ clinical.*, \\d+ clinical.*), in schema study the
    study as it came (doc/study.md); study.streak is whose pressure stayed out of range.  Schema demo
    has the reports that were sent and the answers to them; doc/intake.md says how reports are taken in,
    what becomes of them, and what to do with those in quarantine (clinical.quarantine).  doc/monitor.md
    is about rules and alerts (clinical.alert_worklist), doc/report.md about reports.
    Data, log and build are in $dir.
EOF
