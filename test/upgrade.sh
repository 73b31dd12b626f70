#!/bin/sh
# upgrade.sh: pg_upgrade of a cluster with the extension from this machine's PostgreSQL 15 to 17, in the
# chroot of Debian trixie that test/versions.sh makes; the audit trail must be sound before and after,
# against the same digest, and go on.  As root or by sudo.
#
#   CHROOTS=...   where the chroots are (default /var/tmp)
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/test/lib.sh"

old=/usr/lib/postgresql/15/bin
new=/usr/lib/postgresql/17/bin

# check WHAT EXPECTED GOT
check() {
	[ "$2" = "$3" ] || die "$1: expected '$2', got '$3'"
	passed=$((passed + 1))
	say "ok: $1"
}

# ask DIR SQL: what psql prints, unaligned.
ask() { cluster_psql "$1" -Atq -d clinical -c "$2"; }

# In the chroot: WORK has the checkout, and 15.tar with what was staged for 15.
inside() {
	work=$1 passed=0
	chmod a+rwx "$work"
	as_user mkdir -p "$work/old" "$work/new" "$work/old/stage"
	tar -C "$work/old/stage" --no-same-owner -xf "$work/15.tar"
	chmod -R a+rX "$work/old"
	PG_CONFIG=$old/pg_config
	printf '%s\n' "dynamic_library_path = '$work/old/stage/usr/lib/postgresql/15/lib:\$libdir'" \
		"extension_destdir = '$work/old/stage'" "shared_preload_libraries = 'clinical'" >"$work/old/conf"
	cluster_create "$work/old" "$work/old/conf"
	cluster_start "$work/old"
	cluster_psql "$work/old" -q -d postgres -c 'CREATE DATABASE clinical'
	cluster_psql "$work/old" -q -d clinical >/dev/null <<'SQL'
CREATE EXTENSION clinical;
SELECT clinical.create_center('One', '1', 'Europe/Zurich'), clinical.create_center('Two', '2');
SELECT clinical.create_project_with_centers('Study', '{1, 2}', 'S');
SELECT clinical.enroll_patient('P' || g, 'Name ' || g, NULL, 'S', 1 + g % 2, jsonb_build_object('dose', 1.50, 'text', repeat(md5(g::text), g * 10)),
       effective_on => '2026-01-10', birth_year => 1950) FROM generate_series(1, 200) g;
CREATE ROLE ann LOGIN;
GRANT clinical_investigator TO ann;
SELECT clinical.grant_center('ann', 1);
SELECT clinical.amend_record('P' || g, '{"dose": 1.5}', 'precision') FROM generate_series(1, 50) g;
SELECT clinical.redact('clinical.patient', '{"id": "P7"}', '{name}', 'asked for');
SELECT clinical.seal_audit();
SELECT clinical.amend_record('P9', '{"not": "sealed"}', 'later');
SQL
	digest=$(ask "$work/old" 'SELECT clinical.audit_digest()')
	check '15: the trail is sound' '' "$(ask "$work/old" "SELECT * FROM clinical.verify_audit('$digest')")"
	rows="SELECT count(*), md5(string_agg(r::text, '' ORDER BY id)) FROM clinical.audit_record r WHERE generation = 1"
	before=$(ask "$work/old" "$rows")
	cluster_stop "$work/old"

	PG_CONFIG=$new/pg_config
	stage_build "$work/clinical" "$work/new"
	{
		cat "$work/new/stage.conf"
		echo "shared_preload_libraries = 'clinical'"
	} >"$work/new/conf"
	cluster_create "$work/new" "$work/new/conf"
	as_user touch "$work/new/data/socket.conf"
	say 'pg_upgrade'
	(RUN_HOME=$work/new && as_user "$new/pg_upgrade" -b "$old" -B "$new" -d "$work/old/data" -D "$work/new/data" -U postgres \
		--socketdir "$work" >"$work/pg_upgrade.log" 2>&1) || {
		tail -n 30 "$work/pg_upgrade.log"
		find "$work/new" -name '*.log' -path '*pg_upgrade_output*' -exec tail -n 15 {} +
		die 'pg_upgrade failed'
	}
	cluster_start "$work/new"
	check '17: PostgreSQL' 17 "$(ask "$work/new" "SELECT current_setting('server_version_num')::int / 10000")"
	check '17: the trail is sound, against the digest of before' '' "$(ask "$work/new" "SELECT * FROM clinical.verify_audit('$digest')")"
	check '17: the records are the same' "$before" "$(ask "$work/new" "$rows")"
	check '17: the rows are sound' '' "$(ask "$work/new" 'SELECT * FROM clinical.check()')"
	check '17: ann sees her center' 100 "$(ask "$work/new" 'SET ROLE ann; SELECT count(*) FROM clinical.patient')"
	check '17: it goes on' 3 "$(ask "$work/new" "SELECT clinical.amend_record('P1', '{\"after\": 17}', 'goes on')")"
	tries=0
	until [ "$(ask "$work/new" "SELECT state FROM clinical.stat_worker WHERE kind = 'first'")" = running ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 50 ] || die 'no worker runs'
		sleep 0.2
	done
	check '17: sealed in its next generation' '1 2' "$(ask "$work/new" "DO \$\$BEGIN PERFORM clinical.seal_audit(); END\$\$; SELECT string_agg(DISTINCT generation::text, ' ') FROM clinical.audit_block")"
	check '17: and sound' '' "$(ask "$work/new" "SELECT * FROM clinical.verify_audit('$digest')")"
	cluster_stop "$work/new"
	echo "$passed passed, 0 failed"
}

if [ "${1:-}" = inside ]; then
	inside "$2"
	exit
fi
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || die "chroots take root or sudo"
	exec sudo env CHROOTS="${CHROOTS:-}" "$0" "$@"
fi
if [ -z "${IN_NAMESPACE:-}" ]; then
	exec env IN_NAMESPACE=1 unshare --mount --pid --fork --kill-child "$0" "$@"
fi
dir=${CHROOTS:-/var/tmp}/clinical-trixie
[ -d "$dir" ] || die "no chroot $dir: test/versions.sh trixie makes it"
[ -x "$old/postgres" ] || die "no PostgreSQL 15 in $old"
PG_CONFIG=$old/pg_config
make_scratch
stage_build "$top" "$SCRATCH"
work=$(mktemp -d "$dir/srv/upgrade-XXXXXX")
mount -t proc proc "$dir/proc"
mkdir -p "$dir/dev/shm"
mount -t tmpfs tmpfs "$dir/dev/shm"
trap 'umount "$dir/dev/shm" "$dir/proc"; rm -rf --one-file-system "$work" "$SCRATCH"' EXIT
# the old server, and the libraries that trixie has no longer
mkdir -p "$dir/usr/lib/postgresql" "$dir/usr/share/postgresql" "$dir/usr/local/lib"
cp -a /usr/lib/postgresql/15 "$dir/usr/lib/postgresql/"
cp -a /usr/share/postgresql/15 "$dir/usr/share/postgresql/"
for library in $(ldd "$old/postgres" | sed -n 's/.* => \([^ ]*\) .*/\1/p'); do
	[ -e "$dir/usr/lib/x86_64-linux-gnu/${library##*/}" ] || cp -L "$library" "$dir/usr/local/lib/"
done
chroot "$dir" ldconfig
mkdir "$work/clinical"
tar -C "$top" --exclude=./.git --exclude='./tmp_*' -cf - . | tar -C "$work/clinical" --no-same-owner -xf -
tar -C "$SCRATCH/stage" -cf "$work/15.tar" .
chroot "$dir" env -u W LANG=C.UTF-8 TMPDIR=/var/tmp "${work#"$dir"}/clinical/test/upgrade.sh" inside "${work#"$dir"}"
