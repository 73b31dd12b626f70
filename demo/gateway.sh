# gateway.sh: starts clinical-gateway and calls it as its clients do; sourced by run.sh, whose sql, say, die,
# dir and demo it uses.  Routes and settings are as doc/http.md describes them.

# Stops the gateway of the demo in a directory, if it is there.
stop_gateway() {
	pid=$(cat "$1/gateway.pid" 2>/dev/null) || return 0
	case $(cat "/proc/$pid/cmdline" 2>/dev/null | tr '\0' ' ') in
	*clinical-gateway*"$1"*) as_user kill "$pid" || die "cannot stop the gateway (process $pid)" ;;
	esac
}

# Starts it on a port that is free; url is where it is.
start_gateway() {
	as_user sh -c 'umask 077 && openssl rand -hex 32 >"$1/gateway.key"' sh "$dir"
	as_user sh -c 'umask 077
		"$2" --listen=127.0.0.1:0 --database="dbname=clinical user=demo_gateway host=$3" --pool_size=4 \
			--jwt_algorithm=HS256 --jwt_key_file="$1/gateway.key" --jwt_audience=demo \
			</dev/null >"$1/gateway.log" 2>&1 & echo $! >"$1/gateway.pid"' \
		sh "$dir" "$dir/build/src/gateway/clinical-gateway" "$(cluster_host "$dir")"
	tries=0
	until port=$(as_user sed -n 's/.*listening on port \([0-9]*\).*/\1/p' "$dir/gateway.log") && [ -n "$port" ] &&
		curl -sf "http://127.0.0.1:$port/readyz" >/dev/null; do
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || die "the gateway does not start: $dir/gateway.log"
		sleep 0.1
	done
	url=http://127.0.0.1:$port
}

# Encodes standard input as base64url.
base64url() { base64 -w 0 | tr '+/' '-_' | tr -d '='; }

# Prints a token of a role, good for an hour, as whoever lets people log in would issue it.
token() {
	signed=$(printf '{"alg":"HS256","typ":"JWT"}' | base64url).$(printf '{"role":"%s","sub":"%s","aud":"demo","exp":%s}' \
		"$1" "$1" "$(($(date +%s) + 3600))" | base64url)
	echo "$signed.$(printf %s "$signed" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(as_user cat "$dir/gateway.key" | tr -d '\n' | od -An -v -tx1 | tr -d ' \n')" -binary | base64url)"
}

# call ROLE STATUS PATH [curl's arguments]: shows a call, and what comes back; dies if it is not that status.
call() {
	as=$1 expected=$2 path=$3
	shift 3
	shown=
	for word; do
		case $word in *[!A-Za-z0-9_./:-]*) word="'$word'" ;; esac
		shown="$shown $word"
	done
	echo "\$ curl -H \"Authorization: Bearer \$$as\"$shown $url$path"
	got=$(curl -s -w '\n%{http_code}' -H "Authorization: Bearer $(token "demo_$as")" "$@" "$url$path")
	printf '%s\n\n' "$got" | cut -c 1-400
	[ "${got##*
}" = "$expected" ] || die "the answer is not $expected"
}

# How many reports are being made for the gateway.
made_now() { tell "SELECT count(*) FROM pg_stat_activity WHERE usename = 'demo_gateway' AND state = 'active' AND query ~ 'http_make_report'"; }

# made_becomes N: waits for that.
made_becomes() {
	tries=0
	until [ "$(made_now)" = "$1" ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || die "the reports that are made do not become $1"
		sleep 0.1
	done
}

# A client that goes away while its report is made; so that there is time for a look, a table is locked.
abort_report() {
	echo "\$ curl -H \"Authorization: Bearer \$statistician\" '$url/api/v1/projects/$code/report?from=$from&to=$until'"
	sql -c "BEGIN; LOCK TABLE clinical.monitor_rule_version IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)" >/dev/null 2>&1 &
	holder=$!
	tries=0
	until [ "$(tell "SELECT count(*) FROM pg_locks WHERE relation = 'clinical.monitor_rule_version'::regclass AND mode = 'AccessExclusiveLock' AND granted")" = 1 ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || die "the table is not locked"
		sleep 0.1
	done
	curl -s -H "Authorization: Bearer $(token demo_statistician)" "$url/api/v1/projects/$code/report?from=$from&to=$until" >/dev/null &
	client=$!
	made_becomes 1
	echo "    the server makes it: $(made_now) session is active"
	kill "$client"
	wait "$client" 2>/dev/null || :
	made_becomes 0
	echo "    ^C, and it does not any more: $(made_now) are active"
	tell "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'clinical.monitor_rule_version'::regclass AND mode = 'AccessExclusiveLock'" >/dev/null
	wait "$holder" 2>/dev/null || :
}

gateway() {
	if [ ! -x "$dir/build/src/gateway/clinical-gateway" ]; then
		say "no gateway was built, for want of its libraries: nothing of HTTP is shown"
		return
	fi
	vars=$(sql -A -t -F ' ' -f "$demo/gateway.sql") || die "the callers cannot be made"
	for var in $vars; do
		case ${var%%=*} in
		patient | code | other | from | until) eval "${var%%=*}=\${var#*=}" ;;
		esac
	done
	start_gateway
	call investigator 200 "/api/v1/patient/$patient"
	call investigator 404 "/api/v1/patient/$other"
	call phone 403 "/api/v1/patient/$patient"
	call phone 202 /api/epro/submit -d "{\"patientId\": \"$patient\", \"reportData\": {\"8480-6\": 128, \"8462-4\": 81}, \"submissionId\": \"00000000-0000-4000-8000-00000000de40\"}"
	call phone 200 /api/epro/submit -d "{\"patientId\": \"$patient\", \"reportData\": {\"8480-6\": 128, \"8462-4\": 81}, \"submissionId\": \"00000000-0000-4000-8000-00000000de40\"}"
	call monitor 200 '/api/v1/alerts?limit=1'
	call statistician 202 "/api/v1/projects/$code/reports" -d "{\"from\": \"$from\", \"to\": \"$until\"}"
	abort_report
	curl -s -o /dev/null -w '%{http_code}\n' "$url/api/v1/patient/$patient" | grep -q 401 || die "a call without a token is answered"
}
