# lib.sh: functions that test/, demo/ and bench/ share; sourced by POSIX shell scripts.
#
# Variables:
#   PG_CONFIG   the PostgreSQL to use; find_pg_config sets it
#   RUN_HOME    home and current directory of as_user (default /); make_scratch sets it
#   PASS_ENV    names of further variables that as_user hands on
#
# POSIX sh has no local variables: functions that need some are subshells, f() ( ... ).

# Says what happens now.
say() { echo "==> $*"; }

# Says why it cannot go on, and ends the script.
die() {
	echo "==> $*" >&2
	exit 1
}

# Prints the major version: of PG_CONFIG, or else of Debian's package "postgresql".
pg_major() {
	if [ -n "${PG_CONFIG:-}" ]; then
		if command -v "$PG_CONFIG" >/dev/null; then
			"$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/'
		else
			echo "$PG_CONFIG" | sed -n 's,.*/postgresql/\([0-9]*\)/.*,\1,p' | grep .
		fi
	else
		{ dpkg-query -W -f '${Depends}\n' postgresql || apt-cache show postgresql; } 2>/dev/null |
			sed -n 's/.*\<postgresql-\([0-9]\{1,\}\).*/\1/p' | sort -n | tail -n 1 | grep .
	fi
}

# Sets PG_CONFIG unless the caller did (after test/setup.sh).
find_pg_config() {
	if [ -z "${PG_CONFIG:-}" ]; then
		PG_CONFIG=/usr/lib/postgresql/$(pg_major)/bin/pg_config ||
			die "cannot tell which PostgreSQL to use: set PG_CONFIG"
	fi
	case "$PG_CONFIG" in
	*/*) ;;
	*) PG_CONFIG=$(command -v "$PG_CONFIG") || die "no program $PG_CONFIG" ;;
	esac
}

# Runs CMD... as an unprivileged user with a clean environment, in RUN_HOME: paths must be
# absolute.  Root becomes user postgres; the server refuses to run as root.
as_user() (
	for name in TEMP_CONFIG ${PASS_ENV:-}; do
		eval "if [ -n \"\${$name+set}\" ]; then set -- \"$name=\$$name\" \"\$@\"; fi"
	done
	set -- env -i PATH="$PATH" HOME="${RUN_HOME:-/}" LANG=C.UTF-8 PG_CONFIG="${PG_CONFIG:-}" "$@"
	if [ "$(id -u)" = 0 ]; then
		set -- runuser -u postgres -- "$@"
	fi
	cd "${RUN_HOME:-/}" && exec "$@"
)

# Gives DIR, and what is in it, to the user of as_user.
give_to_user() {
	if [ "$(id -u)" = 0 ]; then
		chown -R postgres: "$1"
	fi
}

# True if the user of as_user can enter and write DIR.
reachable() { as_user sh -c '[ -d "$1" ] && [ -w "$1" ] && [ -x "$1" ]' sh "$1"; }

# Makes a scratch directory of that user (W, if set: a new or empty directory) and sets SCRATCH
# and RUN_HOME to it.
make_scratch() {
	if [ -n "${W:-}" ]; then
		mkdir -p "$W" || die "cannot make $W"
		[ -z "$(ls -A "$W")" ] || die "$W is not empty"
		SCRATCH=$(cd "$W" && pwd)
	else
		SCRATCH=$(mktemp -d "${TMPDIR:-/var/tmp}/clinical-XXXXXX") || die "cannot make a scratch directory"
	fi
	give_to_user "$SCRATCH"
	RUN_HOME=$SCRATCH
	reachable "$SCRATCH" || die "the tests' user cannot use $SCRATCH: set TMPDIR to a directory that it can"
}

# Makes LINKPATH a directory of that user and prints its real path.  Where the user cannot get
# there (a checkout in /root), LINKPATH becomes a symbolic link to a directory in /var/tmp.
private_dir() (
	if [ -L "$1" ] && ! reachable "$(readlink -f "$1")"; then
		rm "$1"	# its directory is gone
	fi
	mkdir -p "$1" || return 1
	[ -L "$1" ] || give_to_user "$1"
	if ! reachable "$(readlink -f "$1")"; then
		rmdir "$1" || die "$1 is in use, but the server's user cannot get there"
		dir=$(mktemp -d /var/tmp/clinical-XXXXXX) || return 1
		give_to_user "$dir"
		ln -s "$dir" "$1"
		say "the server's user cannot enter $(dirname "$1"): $1 is a link to $dir" >&2
	fi
	readlink -f "$1"
)

# Copies TREE without what is generated there to the directory DEST, as user of as_user.
copy_tree() {
	as_user mkdir -p "$2" &&
		tar -C "$1" --exclude=./.git --exclude='./tmp_*' --exclude='./sql/clinical--*.sql' \
			--exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude=./src/gateway/clinical-gateway --exclude=./src/gateway/clinical-gateway-sanitize --exclude='*.inc' --exclude=./results \
			--exclude=./output_iso --exclude='./regression.*' -cf - . |
		as_user tar -C "$2" -xf -
}

# Copies TREE to OUT/build, builds it there (with the make arguments that follow) and installs
# into OUT/stage.  OUT/stage.conf has the settings by which a server finds the staged files.
stage_build() (
	tree=$1 out=$2
	shift 2
	as_user rm -rf "$out/build" "$out/stage" || return 1
	copy_tree "$tree" "$out/build" || return 1
	# without LLVM bitcode: half the time
	set -- as_user make -s -C "$out/build" PG_CONFIG="$PG_CONFIG" with_llvm=no "$@"
	"$@" -j "$(nproc)" all || return 1
	"$@" DESTDIR="$out/stage" install || return 1
	{
		echo "dynamic_library_path = '$out/stage$("$PG_CONFIG" --pkglibdir):\$libdir'"
		case $("$PG_CONFIG" --version) in
		"PostgreSQL 1"[567]*) echo "extension_destdir = '$out/stage'" ;;	# a patch of Debian's
		*) echo "extension_control_path = '$out/stage$("$PG_CONFIG" --sharedir):\$system'" ;;
		esac
	} | as_user tee "$out/stage.conf" >/dev/null
)

# cluster_create DIR CONFFILE [initdb arguments]: makes DIR/data, with CONFFILE added to its
# configuration; reached by a socket only (no comma in DIR: libpq splits there).
cluster_create() (
	dir=$1 conf=$2
	shift 2
	locale=C
	if locale -a 2>/dev/null | grep -qix 'c\.utf-\{0,1\}8'; then
		locale=C.UTF-8
	fi
	as_user mkdir -p "$dir" &&
		as_user "$("$PG_CONFIG" --bindir)/initdb" -D "$dir/data" -A trust -E UTF8 \
			--locale="$locale" -U postgres "$@" >/dev/null || return 1
	{
		echo "listen_addresses = ''"
		echo "unix_socket_permissions = 0700"
		echo "include 'socket.conf'"
		cat "$conf"
	} | as_user tee -a "$dir/data/postgresql.conf" >/dev/null
)

# Starts the cluster in DIR and waits for it.  The socket is in DIR/socket, or in a directory
# of its own in /tmp where that path would exceed the system's 107 bytes.
cluster_start() (
	cluster_running "$1" && return 0
	socket=$1/socket
	if [ "$(printf %s "$socket/.s.PGSQL.65535" | wc -c)" -gt 107 ]; then
		socket=$(as_user mktemp -d /tmp/clinical-XXXXXX) || return 1
	fi
	as_user mkdir -p "$socket" || return 1
	echo "$socket" | as_user tee "$1/socket_dir" >/dev/null || return 1
	echo "unix_socket_directories = '\"$(echo "$socket" | sed "s/'/''/g")\"'" |
		as_user tee "$1/data/socket.conf" >/dev/null || return 1
	as_user "$("$PG_CONFIG" --bindir)/pg_ctl" -s -w -D "$1/data" -l "$1/server.log" start ||
		{
			as_user tail -n 20 "$1/server.log" >&2
			return 1
		}
)

# True if the cluster in DIR runs.
cluster_running() { as_user "$("$PG_CONFIG" --bindir)/pg_ctl" -D "$1/data" status >/dev/null 2>&1; }

# Stops the cluster in DIR, if it runs.
cluster_stop() {
	if cluster_running "$1"; then
		as_user "$("$PG_CONFIG" --bindir)/pg_ctl" -s -w -m fast -D "$1/data" stop || return 1
		as_user rmdir "$(cluster_host "$1")"
	fi
}

# Prints the directory of the socket of the running cluster in DIR (psql -h).
cluster_host() { as_user cat "$1/socket_dir"; }

# cluster_psql DIR args...: psql as superuser of that cluster, as user of as_user.
cluster_psql() (
	dir=$1
	shift
	as_user "$("$PG_CONFIG" --bindir)/psql" -X -v ON_ERROR_STOP=1 -U postgres -h "$(cluster_host "$dir")" "$@"
)

# wait_until WHAT COMMAND...: runs it until it succeeds; dies of WHAT if it does not for some ten seconds.
wait_until() {
	what=$1 tries=0
	shift
	until "$@"; do
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || die "$what"
		sleep 0.1
	done
}

# Is the gateway that gateway_start has started ready?  Sets url.
gateway_ready() {
	url=http://127.0.0.1:$(as_user sed -n 's/.*listening on port \([0-9]*\).*/\1/p' "$1/gateway.log")
	[ "${url##*:}" != '' ] && curl -sf "$url/readyz" >/dev/null
}

# gateway_start DIR DATABASE AUDIENCE [SETTING...]: starts the clinical-gateway that stage_build has built in DIR, on a port
# that is free; sets url.  Its log, process id and the secret of its tokens are in DIR.
gateway_start() {
	as_user sh -c 'umask 077 && openssl rand -hex 32 >"$1/gateway.key"' sh "$1"
	as_user sh -c 'umask 077
		dir=$1 database=$2 audience=$3
		shift 3
		"$dir/build/src/gateway/clinical-gateway" --listen=127.0.0.1:0 --database="$database" \
			--jwt_algorithm=HS256 --jwt_key_file="$dir/gateway.key" --jwt_audience="$audience" "$@" \
			</dev/null >"$dir/gateway.log" 2>&1 & echo $! >"$dir/gateway.pid"' sh "$@"
	wait_until "the gateway does not start: $1/gateway.log" gateway_ready "$1"
}

# Stops the gateway of DIR, if it is there.
gateway_stop() {
	pid=$(cat "$1/gateway.pid" 2>/dev/null) || return 0
	case $(cat "/proc/$pid/cmdline" 2>/dev/null | tr '\0' ' ') in
	*clinical-gateway*"$1"*) as_user kill "$pid" || die "cannot stop the gateway (process $pid)" ;;
	esac
}

# Encodes standard input as base64url.
base64url() { base64 -w 0 | tr '+/' '-_' | tr -d '='; }

# gateway_token DIR AUDIENCE ROLE SECONDS: prints a token of a role, as whoever lets people log in would issue it.
gateway_token() {
	signed=$(printf '{"alg":"HS256","typ":"JWT"}' | base64url).$(printf '{"role":"%s","sub":"%s","aud":"%s","exp":%s}' \
		"$3" "$3" "$2" "$(($(date +%s) + $4))" | base64url)
	echo "$signed.$(printf %s "$signed" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(as_user cat "$1/gateway.key" | tr -d '\n' | od -An -v -tx1 | tr -d ' \n')" -binary | base64url)"
}
