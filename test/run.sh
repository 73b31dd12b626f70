#!/bin/sh
# run.sh: builds, stages and runs the tests in a scratch directory, as an unprivileged user even
# if root calls; writes nothing into the checkout and nothing into PostgreSQL's directories.
#
#   test/run.sh                         all suites
#   test/run.sh regress isolation tap   some
#   test/run.sh test/t/001_x.pl         single TAP files
#
#   PG_CONFIG=...         another PostgreSQL than that of Debian's package "postgresql"
#   FAULTS=1              builds with the points of src/core_fault.c, for test/t/040_faults.pl and 014, 059 and 066
#   SANITIZE=1            builds clinical-gateway with ASan and UBSan, too, and tests that one
#   W=...                 the scratch directory (new or empty); else one below TMPDIR or /var/tmp
#   CLINICAL_SHARED=...   the folder with real data (default: ../shared, if there); TAP tests on
#                         real data skip without.  All CLINICAL_* variables reach the tests.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/test/lib.sh"

suites='' tap_files=''
for arg; do
	case "$arg" in
	regress | isolation | tap) suites="$suites $arg" ;;
	*.pl)
		[ -f "$top/test/t/${arg##*/}" ] || die "no TAP file $arg"
		tap_files="$tap_files test/t/${arg##*/}"
		;;
	*) die "usage: test/run.sh [regress] [isolation] [tap] [FILE.pl ...]" ;;
	esac
done
case "$suites$tap_files" in
'') suites="regress isolation tap" ;;
*.pl) case "$suites" in *tap*) ;; *) suites="$suites tap" ;; esac ;;
esac

passed=0 failed=0 skipped=0

# The last line of every run.
finish() {
	[ "$skipped" = 0 ] || say "$skipped skipped"
	if [ "$failed" = 0 ] && [ "$passed" != 0 ]; then
		rm -rf "$SCRATCH"
	else
		[ -z "${SCRATCH:-}" ] || say "logs and results are kept in $SCRATCH"
	fi
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ] && [ "$passed" != 0 ]
	exit
}

# Prints "passed failed skipped" of the log of pg_regress or pg_isolation_regress: 15 writes
# "test NAME ... ok", later versions write TAP.
count_files() {
	awk '/^ok +[0-9]+ +[-+] / || / \.\.\. ok( |$)/ { passed++ }
		/^not ok +[0-9]+ +[-+] / || / \.\.\. FAILED/ { failed++ }
		END { print passed + 0, failed + 0, 0 }' "$1"
}

# Prints the same of the log of prove --verbose.  A file that ends early without a failed
# assertion counts as one failure.
count_assertions() {
	awk '/\.\. skipped: / || /^ok [0-9]+.* # [Ss][Kk][Ii][Pp]/ { skipped++; next }
		/^ok [0-9]+/ { passed++ }
		/^not ok [0-9]+/ && !/ # TODO/ { failed++ }
		/\(Wstat: .* Failed: / { whole = / Failed: 0\)/ }
		whole && /^  (Non-zero|Parse errors)/ { failed++; whole = 0 }
		END { print passed + 0, failed + 0, skipped + 0 }' "$1"
}

# Shows why SUITE failed, and keeps its results from the next suite.
explain() {
	say "$1 FAILED"
	if [ "$1" = tap ]; then
		sed -n 's,^test/t/\(.*\)\.pl *(Wstat:.*,\1,p' tap.log | while read -r file; do
			log=build/tmp_check/log/regress_log_$file
			[ ! -e "$log" ] || { say "end of $log"; tail -n 40 "$log"; }
		done
	else
		mv build/tmp_regress "$1"
		if [ -s "$1/regression.diffs" ]; then
			cat "$1/regression.diffs"
		else
			tail -n 40 "$1"/log/*.log
		fi
	fi
}

# Runs SUITE (make arguments follow) and adds up its results, counted by the function COUNT.
run_suite() {
	suite=$1 count=$2
	shift 2
	say "$suite"
	as_user sh -c 'log=$1; shift; { "$@"; echo "exit status $?"; } 2>&1 | tee "$log"' sh "$suite.log" \
		make -s -C build installcheck PG_CONFIG="$PG_CONFIG" with_llvm=no \
		INSTANCE_OPTS="--temp-instance=$SCRATCH/instance_$suite --temp-config=$SCRATCH/test.conf" "$@"
	set -- $($count "$SCRATCH/$suite.log")
	if [ "$2" = 0 ] && [ "$(tail -n 1 "$SCRATCH/$suite.log")" != "exit status 0" ]; then
		set -- "$1" 1 "$3"	# it failed without saying what
	fi
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
	[ "$2" = 0 ] || (cd "$SCRATCH" && explain "$suite") || :
}

"$top/test/setup.sh" || {
	failed=1
	finish
}
find_pg_config
make_scratch

: "${CLINICAL_SHARED:=$top/../shared}"
CLINICAL_SHARED=$(cd -P "$CLINICAL_SHARED" 2>/dev/null && pwd) || :
if [ -n "$CLINICAL_SHARED" ] && as_user ls "$CLINICAL_SHARED" >/dev/null 2>&1; then
	export CLINICAL_SHARED
else
	unset CLINICAL_SHARED
	say "no folder ../shared that the tests' user can read: tests on real data skip"
fi
TEMP_CONFIG=$SCRATCH/stage.conf
[ -z "${SANITIZE:-}" ] || export CLINICAL_GATEWAY=src/gateway/clinical-gateway-sanitize
# the second line is for npm, where it needs a proxy
PASS_ENV="PG_TEST_EXTRA PG_TEST_TIMEOUT_DEFAULT
	NODE_EXTRA_CA_CERTS HTTPS_PROXY https_proxy NO_PROXY no_proxy
	$(env | sed -n 's/^\(CLINICAL_[A-Z0-9_]*\)=.*/\1/p')"

say "build with $("$PG_CONFIG" --version)"
stage_build "$top" "$SCRATCH" WERROR=1 COPT=-DUSE_ASSERT_CHECKING ${FAULTS:+FAULTS=1} ${SANITIZE:+SANITIZE=1} || {
	failed=1
	finish
}
{
	cat "$SCRATCH/stage.conf"
	echo "shared_preload_libraries = 'clinical'"
	echo "fsync = off"
	echo "log_line_prefix = '%m [%p] %q%a '"
	echo "max_prepared_transactions = 10"
	echo "wal_level = logical"
} | as_user tee "$SCRATCH/test.conf" >/dev/null

for suite in $suites; do
	case "$suite" in
	regress) run_suite regress count_files ISOLATION= TAP_TESTS= ;;
	isolation) run_suite isolation count_files REGRESS= TAP_TESTS= ;;
	tap)
		# on the command line: PGXS of version 15 overwrites what a makefile sets before it
		run_suite tap count_assertions REGRESS= ISOLATION= PROVE_FLAGS='--verbose --timer' \
			${tap_files:+PROVE_TESTS="$tap_files"}
		;;
	esac
done
finish
