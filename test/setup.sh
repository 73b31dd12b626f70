#!/bin/sh
# setup.sh: installs what build and tests need and this machine does not have (Debian).
# Silent, and without a call of apt, when nothing is missing.
#
#   PG_CONFIG=...   another PostgreSQL than that of Debian's package "postgresql"
#   WITH_CLANG=1    what fuzzing needs, too
set -eu
. "$(dirname "$0")/lib.sh"

# Adds PACKAGE to what is missing unless the test that follows it succeeds.
need() {
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}

# The same for what tests can do without, where Debian has no such package.
wish() {
	package=$1
	shift
	"$@" >/dev/null 2>&1 || ! apt-cache show "$package" >/dev/null 2>&1 || missing="$missing $package"
}

# pg_has OPTION FILE: true if FILE exists in the directory that PG_CONFIG names by OPTION.
pg_has() { [ -e "$("$PG_CONFIG" "$1")/$2" ]; }

find_missing() {
	missing=
	need make command -v make
	need gcc command -v gcc
	need libc6-dev test -e /usr/include/stdio.h
	need perl command -v prove
	need libipc-run-perl perl -MIPC::Run -e 1
	need python3-jsonschema /usr/bin/python3 -c "import jsonschema"
	need python3-psycopg /usr/bin/python3 -c "import psycopg"
	need curl command -v curl
	need openssl command -v openssl
	wish jq command -v jq
	wish prometheus command -v promtool
	wish wrk command -v wrk
	wish pgbouncer test -x /usr/sbin/pgbouncer
	wish prometheus-postgres-exporter command -v prometheus-postgres-exporter
	wish nginx-light command -v nginx
	need libmicrohttpd-dev test -e /usr/include/microhttpd.h
	need libjwt-dev test -e /usr/include/jwt.h
	need libjansson-dev test -e /usr/include/jansson.h
	need libssl-dev test -e /usr/include/openssl/core_names.h
	need libpq-dev test -e /usr/include/postgresql/libpq-fe.h
	if [ -n "${WITH_CLANG:-}" ]; then
		need clang command -v clang
	fi
	if major=$(pg_major); then
		: "${PG_CONFIG:=/usr/lib/postgresql/$major/bin/pg_config}"
		need "postgresql-$major" pg_has --bindir postgres
		need "postgresql-client-$major" pg_has --bindir psql
		need "postgresql-server-dev-$major" pg_has --includedir-server postgres.h
		wish "postgresql-$major-cron" pg_has --pkglibdir pg_cron.so
	elif [ -n "${PG_CONFIG:-}" ]; then
		die "PG_CONFIG=$PG_CONFIG: there is no such program, and its path names no version"
	else
		missing="$missing postgresql"	# apt does not know the version yet
	fi
}

find_missing
[ -n "$missing" ] || exit 0

[ -f /etc/debian_version ] && command -v apt-get >/dev/null ||
	die "missing:$missing (names of Debian's packages); only Debian's can be installed from here"
if [ "$(id -u)" = 0 ]; then
	as_root=
elif command -v sudo >/dev/null; then
	as_root=sudo
else
	die "missing:$missing; installing them takes root or sudo: apt-get install$missing"
fi

say "apt-get update, as packages are missing:$missing"
$as_root apt-get -qq update || die "apt-get update failed; still missing:$missing"
find_missing	# the version is known now
case " $missing " in
*" postgresql "*) die "apt knows no package \"postgresql\"" ;;
esac

# Debian creates and starts a cluster with each new server package; we want the programs only.
dropin=/etc/postgresql-common/createcluster.d/clinical-test.conf
case "$missing" in
*" postgresql-$major"*)
	if [ ! -e "/usr/lib/postgresql/$major/bin/postgres" ] && [ ! -e "$dropin" ]; then
		say "no cluster for the machine: $dropin (create_main_cluster = false) until the packages are in"
		$as_root mkdir -p "${dropin%/*}"
		echo "create_main_cluster = false" | $as_root tee "$dropin" >/dev/null
		trap '$as_root rm -f "$dropin"' EXIT
	fi
	;;
esac

# Nor are services wanted that a package brings, as prometheus, pgbouncer and nginx do: the tests start their own.
policy=/usr/sbin/policy-rc.d
case "$missing" in
*" prometheus"* | *" pgbouncer"* | *" nginx-light"*)
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
		$as_root chmod 755 "$policy"
		trap '$as_root rm -f "$dropin" "$policy"' EXIT
	fi
	;;
esac

say "installing$missing"
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing >/dev/null ||
	die "apt-get could not install$missing"
find_missing
[ -z "$missing" ] || die "still missing after the installation:$missing"
