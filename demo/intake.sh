# intake.sh: sends the study's reports from several clients at a time and shows what becomes of them;
# sourced by run.sh, whose sql, tell, gives, say, die and demo it uses.  The intake is as doc/intake.md describes it.
clients=8
capacity=1024

# send WAVE PATIENT: all clients at a time, each a connection of its own, send their shares.
send() {
	pids=
	client=0
	while [ "$client" -lt "$clients" ]; do
		sql -U demo_client -c "CALL demo.send('$1', $client, $clients, $2)" &
		pids="$pids $!"
		client=$((client + 1))
	done
	failed=
	for pid in $pids; do
		wait "$pid" || failed=1
	done
	[ -z "$failed" ] || die "a client failed"
}

# watched WAVE COMMAND...: runs it while the backlog is noted, until all of the wave is in and nothing waits.
watched() {
	sql -c "CALL demo.watch('$1')" &
	watcher=$!
	shift
	"$@"
	wait "$watcher" || die "the backlog does not fall"
}

stop_workers() { sql -o /dev/null -c "SELECT clinical.stop_workers()"; }
start_workers() { sql -o /dev/null -c "SELECT clinical.start_workers()"; }

# Workers start, and the clients send what was refused.
go_on() {
	start_workers
	send "$1" true
}

# set_capacity N: the queue's, of sessions that begin from now on.
set_capacity() {
	if [ "$1" = default ]; then
		sql -c "ALTER SYSTEM RESET clinical.queue_capacity"
	else
		sql -c "ALTER SYSTEM SET clinical.queue_capacity = $1"
	fi
	sql -o /dev/null -c "SELECT pg_reload_conf()"
	wait_until "clinical.queue_capacity does not become $1" gives 1 \
		"SELECT count(*) FROM pg_settings WHERE name = 'clinical.queue_capacity' AND setting = coalesce(nullif('$1', 'default'), boot_val)"
}

# While workers run: the study with what is wrong mixed in.
live() {
	say "$clients clients send while workers process"
	watched live send live true
	tell "SELECT demo.course('live')"
}

# What arrives again while the first still waits, and again once it has been processed.
repeats() {
	say "workers stop: some reports are sent, and sent again with the same or another content"
	stop_workers
	send twice true
	send again true
	tell "SELECT format('%s reports wait', count(*)) FROM clinical.staged_report"
	say "workers start: the backlog falls"
	watched again start_workers
	sql -c "SELECT * FROM demo.bars('again')"
	say "some reports are sent again that were processed long ago"
	watched late send late true
	tell "SELECT string_agg(format('%s answers \"%s\"', count, outcome), ', ' ORDER BY outcome)
	        FROM (SELECT outcome, count(*) FROM demo.answer WHERE wave = 'late' GROUP BY outcome) a"
}

# More than the queue takes.
burst() {
	say "a burst against a queue of $capacity: at first no worker runs"
	set_capacity $capacity
	stop_workers
	send burst false
	tell "SELECT format('%s reports taken, %s answered \"busy\"', count(*) FILTER (WHERE outcome <> 'busy'), count(*) FILTER (WHERE outcome = 'busy'))
	        FROM demo.answer WHERE wave = 'burst'"
	say "workers start, and the clients try again until all are in"
	watched burst go_on burst
	sql -c "SELECT * FROM demo.bars('burst')"
	tell "SELECT format('%s reports taken in the end; \"busy\" was answered %s times; up to %s workers ran',
	                    count(*) FILTER (WHERE outcome <> 'busy'), count(*) FILTER (WHERE outcome = 'busy'),
	                    (SELECT max(workers) FROM demo.backlog WHERE wave = 'burst'))
	        FROM demo.answer WHERE wave = 'burst'"
	set_capacity default
}

# intake ORIGINATOR SIMULATED: all of it, and the balance.
intake() {
	sql -v originator="$1" -f "$demo/reports.sql"
	sql -f "$demo/submit.sql"
	if [ "$(tell "SELECT count(*) FROM demo.report")" = 0 ]; then
		say "the study has no readings and no answers: nothing to send"
		return
	fi
	say "the study's reports (demo/reports.sql), and what is to become of them"
	tell "SELECT format('%s vital signs and %s answers in %s reports, which are to make %s observations; what they have besides is for quarantine',
	                    (SELECT count(*) FROM study.reading), (SELECT count(*) FROM study.answer),
	                    count(*) FILTER (WHERE kind = 'report'), sum(items))
	        FROM demo.report"
	sql -c "SELECT wave, count(*) AS reports, count(*) FILTER (WHERE state = 'accepted') AS accepted,
	               count(*) FILTER (WHERE state = 'quarantined') AS quarantined, count(*) FILTER (WHERE state = 'duplicate') AS duplicate,
	               count(*) FILTER (WHERE state = 'conflict') AS conflict, count(*) FILTER (WHERE state IS NULL) AS already_received,
	               sum(items) AS observations, count(score) AS scores
	          FROM demo.report GROUP BY ROLLUP (wave) ORDER BY wave IS NULL, min(no)"
	live
	repeats
	burst
	say "what became of them (demo/balance.sql)"
	sql -v simulated="$2" -v capacity=$capacity -f "$demo/balance.sql"
}
