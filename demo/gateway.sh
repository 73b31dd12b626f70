# gateway.sh: starts clinical-gateway and calls it as its clients do; sourced by run.sh, whose sql, tell, gives, say,
# die, dir and demo it uses.  Routes and settings are as doc/http.md describes them.

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
	got=$(curl -s -w '\n%{http_code}' -H "Authorization: Bearer $(gateway_token "$dir" demo "demo_$as" 3600)" "$@" "$url$path")
	printf '%s\n\n' "$got" | cut -c 1-400
	[ "${got##*
}" = "$expected" ] || die "the answer is not $expected"
}

# How many reports are being made for the gateway.
made_now() { tell "SELECT count(*) FROM pg_stat_activity WHERE usename = 'demo_gateway' AND state = 'active' AND query ~ 'http_make_report'"; }

made_is() { [ "$(made_now)" = "$1" ]; }

# A client that goes away while its report is made; so that there is time for a look, a table is locked.
abort_report() {
	echo "\$ curl -H \"Authorization: Bearer \$statistician\" '$url/api/v1/projects/$code/report?from=$from&to=$until'"
	sql -c "BEGIN; LOCK TABLE clinical.monitor_rule_version IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)" >/dev/null 2>&1 &
	holder=$!
	wait_until "the table is not locked" gives 1 \
		"SELECT count(*) FROM pg_locks WHERE relation = 'clinical.monitor_rule_version'::regclass AND mode = 'AccessExclusiveLock' AND granted"
	curl -s -H "Authorization: Bearer $(gateway_token "$dir" demo demo_statistician 3600)" "$url/api/v1/projects/$code/report?from=$from&to=$until" >/dev/null &
	client=$!
	wait_until "no report is made" made_is 1
	echo "    the server makes it: $(made_now) session is active"
	kill "$client"
	wait "$client" 2>/dev/null || :
	wait_until "the report is still made" made_is 0
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
	gateway_start "$dir" "dbname=clinical user=demo_gateway host=$(cluster_host "$dir")" demo --pool_size=4
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
