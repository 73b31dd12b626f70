// intake_node.mjs: pg-boss and graphile-worker for bench/intake, which copies it to where they are installed.
//
//   node intake_node.mjs prepare pgboss|graphile FILE     installs its schema; FILE gets the SQL that sends a job
//   node intake_node.mjs consume pgboss|graphile FILE N   makes FILE when it is ready, and consumes, N jobs at a
//                                                          time, until bench.control says stop and nothing is left
//
// The database is that of PGHOST, PGUSER and PGDATABASE.
import { writeFileSync } from 'node:fs';
import pg from 'pg';

const [mode, system, file, size] = process.argv.slice(2);
const database = { host: process.env.PGHOST, user: process.env.PGUSER, database: process.env.PGDATABASE };
const pool = new pg.Pool({ ...database, max: 16 });
pool.on('error', error => { console.error(error); process.exit(1); });
pool.on('connect', client => client.on('error', () => {}));
const store = payloads => ({ name: 'store', text: 'SELECT bench.store($1::jsonb)', values: [JSON.stringify(payloads)] });
const stopped = async () => (await pool.query('SELECT bench.is_stopped() AS stop')).rows[0].stop;
const pause = ms => new Promise(done => setTimeout(done, ms));

async function pgboss() {
	const { PgBoss } = await import('pg-boss');
	const boss = new PgBoss({ ...database, max: 4, schedule: false, supervise: false });
	boss.on('error', error => { console.error(error); process.exit(1); });
	await boss.start();
	if (mode === 'prepare') {
		await boss.createQueue('report');
		// the statement that send() runs
		let sent;
		await boss.send('report', {}, { db: { executeSql: async (text, values) => { sent ??= { text, values }; return { rows: [{ id: '' }], rowCount: 1 }; } } });
		const values = sent.values.map(String);
		if (values.length !== 1 || !sent.text.includes('$1'))
			throw new Error('send() does not do what it did');
		writeFileSync(file, sent.text.replace(/\$1\b/, '(:jobs)') + ';\n');
		console.log(values[0]);
	} else {
		writeFileSync(file, '');
		for (;;) {
			const stop = await stopped();
			const jobs = await boss.fetch('report', { batchSize: Number(size) });
			if (jobs.length > 0) {
				await pool.query(store(jobs.map(job => job.data)));
				await boss.complete('report', jobs.map(job => job.id));
			} else if (stop)
				break;
			else
				await pause(5);
		}
	}
	await boss.stop({ graceful: false });
}

async function graphile() {
	const { run, runMigrations, Logger } = await import('graphile-worker');
	if (mode === 'prepare') {
		await runMigrations({ pgPool: pool, preset: { worker: {} } });
		return;
	}
	const logger = new Logger(() => (level, message) => { if (level === 'error') console.error(message); });
	const runner = await run({
		pgPool: pool, logger, noHandleSignals: true,
		preset: { worker: { concurrentJobs: 10, maxPoolSize: 16, localQueue: { size: Number(size) }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
		taskList: { store: (payload, helpers) => helpers.query(store([payload])).then(() => undefined) },
	});
	writeFileSync(file, '');
	for (;;) {
		await pause(50);
		if (await stopped() && !(await pool.query('SELECT EXISTS (SELECT FROM graphile_worker._private_jobs) AS more')).rows[0].more)
			break;
	}
	await runner.stop();
}

await (system === 'pgboss' ? pgboss() : graphile());
await pool.end();
process.exit(0);
