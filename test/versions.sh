#!/bin/sh
# versions.sh: runs test/run.sh on Debian's other PostgreSQL versions, each in a chroot that is
# built once.  As root or by sudo.
#
#   test/versions.sh             all
#   test/versions.sh trixie      one
#
#   CHROOTS=...   where the chroots are (default /var/tmp)
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/test/lib.sh"

if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || die "chroots take root or sudo"
	exec sudo env CHROOTS="${CHROOTS:-}" "$0" "$@"
fi
# With mounts and processes of our own, nothing of them can outlive this script.
if [ -z "${IN_NAMESPACE:-}" ]; then
	exec env IN_NAMESPACE=1 unshare --mount --pid --fork --kill-child "$0" "$@"
fi

# Prints the PostgreSQL version that SUITE of Debian has.
major_of() {
	case "$1" in
	trixie) echo 17 ;;
	forky) echo 18 ;;
	*) die "no Debian suite that we test on: $1 (trixie, forky)" ;;
	esac
}

# Makes the chroot DIR of SUITE with PostgreSQL MAJOR and what test/setup.sh asks for, unless
# it is there.
make_chroot() {
	[ ! -d "$2" ] || return 0
	if ! command -v debootstrap >/dev/null; then
		say "installing debootstrap"
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install debootstrap ||
			die "apt-get could not install debootstrap"
	fi
	# the mirror that this machine uses itself
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | head -n 1)
	say "building a chroot of $1 in $2 (log: $2.log)"
	rm -rf --one-file-system "$2.new"
	# the script by name: an older debootstrap does not know the newer suite
	debootstrap --variant=minbase \
		--include="make,gcc,libc6-dev,perl,libipc-run-perl,postgresql-$3,postgresql-server-dev-$3" \
		"$1" "$2.new" "${mirror:-http://deb.debian.org/debian}" \
		/usr/share/debootstrap/scripts/sid >"$2.log" 2>&1 ||
		die "debootstrap failed, see $2.log"
	mv "$2.new" "$2"
}

# Runs the tests in the chroot DIR of SUITE; the last line of its log is their result.
run_in_chroot() {
	major=$(major_of "$1") dir=$2
	cp /etc/resolv.conf "$dir/etc/resolv.conf"
	mount -t proc proc "$dir/proc"
	mkdir -p "$dir/dev/shm"
	mount -t tmpfs tmpfs "$dir/dev/shm"
	# a folder of this run: the checkout, and beside it ../shared
	work=$(mktemp -d "$dir/srv/clinical-XXXXXX")
	trap 'umount "$work/shared" 2>/dev/null; umount "$dir/dev/shm" "$dir/proc"; rm -rf --one-file-system "$work"' EXIT
	chmod a+rx "$work"
	if [ -d "$top/../shared" ]; then
		mkdir "$work/shared"
		mount --bind "$top/../shared" "$work/shared"
		mount -o remount,bind,ro "$work/shared"
	fi
	mkdir "$work/clinical"
	tar -C "$top" --exclude=./.git --exclude='./tmp_*' -cf - . | tar -C "$work/clinical" --no-same-owner -xf -
	chroot "$dir" env -u CLINICAL_SHARED -u W LANG=C.UTF-8 TMPDIR=/var/tmp \
		PG_CONFIG="/usr/lib/postgresql/$major/bin/pg_config" \
		"${work#"$dir"}/clinical/test/run.sh"
}

failed=0 summary=''
[ $# -gt 0 ] || set -- trixie forky
for suite; do
	major=$(major_of "$suite")
	dir=${CHROOTS:-/var/tmp}/clinical-$suite
	make_chroot "$suite" "$dir" "$major"
	say "$suite, PostgreSQL $major (paths below are those inside $dir)"
	log=$(mktemp)
	# the exit status of the first command of a pipe would be lost: passed on as a last line
	# (and "set -e" would not hold in a condition)
	{
		set +e
		(set -e && run_in_chroot "$suite" "$dir")
		[ $? = 0 ] || echo "$suite FAILED"
	} 2>&1 | tee "$log"
	result=$(tail -n 1 "$log")
	if [ "$result" = "$suite FAILED" ]; then
		failed=1
		result="FAILED: $(tail -n 2 "$log" | head -n 1)"
	fi
	rm -f "$log"
	summary="$summary==> $suite, PostgreSQL $major: $result
"
done
printf '%s' "$summary"
exit "$failed"
