// Takes the spans of a database, and posts them to a collector of OpenTelemetry (OTLP over HTTP, in JSON).
//
//   node spans.mjs http://localhost:4318/v1/traces            until there are none, and ends
//   node spans.mjs http://localhost:4318/v1/traces 5          for ever, every 5 seconds
//
// It needs Node and psql; where the database is, and as whom to connect, is in PGHOST, PGDATABASE, PGUSER and
// so on: a login that is a member of pg_monitor or clinical_admin.
//
// The spans are taken in a transaction that is committed when the collector has them: if it cannot be reached,
// they are there again, for the next time.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';

const AT_ONCE = 1000;

// A psql that is given statements, one after the other.
class Session {
	constructor() {
		this.psql = spawn('psql', ['-XqAt', '-v', 'ON_ERROR_STOP=1'], { stdio: ['pipe', 'pipe', 'inherit'] });
		this.psql.stdin.on('error', () => {});	// it has ended: run() says so
		this.lines = createInterface({ input: this.psql.stdout })[Symbol.asyncIterator]();
	}

	// The lines that a statement gives.
	async run(statement) {
		this.psql.stdin.write(`${statement};\n\\echo -- done\n`);
		const answer = [];
		for (;;) {
			const { value, done } = await this.lines.next();
			if (done)
				throw new Error('psql has ended');
			if (value === '-- done')
				return answer;
			answer.push(value);
		}
	}

	end() {
		this.psql.stdin.end();
	}
}

// Post a document.  An error: it is worth another try.
async function post(url, document) {
	const response = await fetch(url, {
		method: 'POST',
		headers: { 'Content-Type': 'application/json' },
		body: document,
		signal: AbortSignal.timeout(30_000),
	});
	const answer = await response.text();
	if ([429, 502, 503, 504].includes(response.status))
		throw new Error(`the collector answers ${response.status}`);
	if (!response.ok)
		console.error(`the collector answers ${response.status}, these spans are lost: ${answer}`);
}

// Take some spans, and post them; false: there are none.
async function sendSome(session, url) {
	await session.run('BEGIN');
	try {
		const [document] = await session.run(`SELECT clinical.take_spans(${AT_ONCE})`);
		const any = JSON.parse(document).resourceSpans.length > 0;
		if (any)
			await post(url, document);
		await session.run('COMMIT');
		return any;
	} catch (error) {
		await session.run('ROLLBACK').catch(() => {});
		throw error;
	}
}

// Send what there is.
async function sendAll(url) {
	const session = new Session();
	try {
		while (await sendSome(session, url))
			;
	} finally {
		session.end();
	}
}

const [url, seconds] = process.argv.slice(2);
if (url === undefined) {
	console.error('usage: node spans.mjs URL [SECONDS]');
	process.exit(2);
}
do {
	try {
		await sendAll(url);
	} catch (error) {
		console.error(error.cause?.message ?? error.message);
		process.exitCode = seconds === undefined ? 1 : 0;
	}
	if (seconds !== undefined)
		await pause(Number(seconds) * 1000);
} while (seconds !== undefined);
