// A client of clinical in Node: the package pg (npm install pg).
//
//   node clinical_client.mjs look_up PATIENT
//   node clinical_client.mjs submit PATIENT REPORT
//   node clinical_client.mjs report PROJECT FIRST_DAY END_DAY SECONDS
//   node clinical_client.mjs abandon PROJECT FIRST_DAY END_DAY SECONDS
//
// Where the server is, and as whom to connect, is in PGHOST, PGDATABASE, PGUSER and so on.
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';

export async function connect(settings = {}) {
	const client = new pg.Client({
		application_name: 'clinical_client',
		// the server looks that often whether the client is still there, also in the middle of a statement
		options: '-c client_connection_check_interval=100ms',
		...settings,
	});
	client.on('error', () => {});	// of a connection that is lost; the statement that is running fails, too
	await client.connect();
	return client;
}

// The patient; null: there is none, or it is not for us to see.
export async function lookUp(client, patientId) {
	try {
		const { rows } = await client.query('SELECT clinical.patient_json($1) AS patient', [patientId]);
		return rows[0].patient;
	} catch (error) {
		if (error.code === 'P0002')
			return null;
		throw error;
	}
}

// Is it the connection that failed, or the server that goes down or is not up yet?
function isLost(error) {
	return !(error instanceof pg.DatabaseError) || /^(08|57P0)/.test(error.code);
}

// Send a report until the server has it.  It is the same report each time, with the same id, so that it
// counts once whatever became of the answers before: a lost connection leaves open whether the report was stored.
export async function submit(patientId, report, submissionId = randomUUID(), tries = 10) {
	let client;
	try {
		for (let attempt = 0; attempt < tries; attempt++) {
			if (attempt > 0)
				await pause(Math.min(30_000, 100 * 2 ** attempt) * (0.5 + Math.random() / 2));
			try {
				client ??= await connect();
				const { rows } = await client.query('SELECT * FROM clinical.submit_report($1, $2, submission_id => $3)',
					[patientId, report, submissionId]);
				if (rows[0].outcome !== 'busy')
					return rows[0];
			} catch (error) {
				if (!isLost(error))
					throw error;
				client = undefined;
			}
		}
	} finally {
		await client?.end();
	}
	throw new Error(`report ${submissionId} was not taken in ${tries} tries`);
}

// The report, if it is made in that time; null otherwise: the server stops and keeps nothing.
export async function generateReport(project, firstDay, endDay, seconds, options = {}) {
	const client = await connect({ statement_timeout: Math.round(seconds * 1000) });
	try {
		const { rows } = await client.query('SELECT clinical.generate_report($1, daterange($2, $3), $4) AS report',
			[project, firstDay, endDay, options]);
		return rows[0].report;
	} catch (error) {
		if (error.code === '57014')
			return null;
		throw error;
	} finally {
		await client.end();
	}
}

// Nobody waits for the report any more: closing the connection is enough, the server notices.
export async function abandonReport(project, firstDay, endDay, seconds, options = {}) {
	const client = await connect();
	const report = client.query('SELECT clinical.generate_report($1, daterange($2, $3), $4) AS report',
		[project, firstDay, endDay, options]);
	report.catch(() => {});
	await pause(seconds * 1000);
	client.connection.stream.destroy();
	return report.then(({ rows }) => rows[0].report, () => null);
}

const commands = {
	async look_up(patientId) {
		const client = await connect();
		try {
			return await lookUp(client, patientId);
		} finally {
			await client.end();
		}
	},
	submit: (patientId, report, ...rest) => submit(patientId, JSON.parse(report), ...rest),
	report: (project, firstDay, endDay, seconds) => generateReport(project, firstDay, endDay, Number(seconds)),
	abandon: (project, firstDay, endDay, seconds) => abandonReport(project, firstDay, endDay, Number(seconds)),
};
const [command, ...args] = process.argv.slice(2);
if (command in commands)
	console.log(JSON.stringify(await commands[command](...args)));
