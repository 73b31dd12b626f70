"""A client of clinical in Python: psycopg 3 (Debian: python3-psycopg).

    python3 clinical_client.py look_up PATIENT
    python3 clinical_client.py submit PATIENT REPORT
    python3 clinical_client.py report PROJECT FIRST_DAY END_DAY SECONDS
    python3 clinical_client.py abandon PROJECT FIRST_DAY END_DAY SECONDS

Where the server is, and as whom to connect, is in PGHOST, PGDATABASE, PGUSER and so on.
"""
import json
import random
import sys
import threading
import time
import uuid

import psycopg
from psycopg import errors
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb


def connect():
    # The server looks that often whether the client is still there, also in the middle of a statement.
    return psycopg.connect(autocommit=True, row_factory=dict_row, application_name="clinical_client",
                           options="-c client_connection_check_interval=100ms")


def look_up(conn, patient_id):
    """The patient as a dict; None: there is none, or it is not for us to see."""
    try:
        return conn.execute("SELECT clinical.patient_json(%s) AS patient", [patient_id]).fetchone()["patient"]
    except errors.NoDataFound:
        return None


def submit(patient_id, report, submission_id=None, tries=10):
    """Send a report until the server has it.

    It is the same report each time, with the same id, so that it counts once whatever became of the
    answers before: a lost connection leaves open whether the report was stored.
    """
    submission_id = submission_id or uuid.uuid4()
    conn = None
    for attempt in range(tries):
        if attempt > 0:
            time.sleep(min(30, 0.1 * 2 ** attempt) * random.uniform(0.5, 1))
        try:
            conn = conn or connect()
            answer = conn.execute("SELECT * FROM clinical.submit_report(%s, %s, submission_id => %s)",
                                  [patient_id, Jsonb(report), submission_id]).fetchone()
        except psycopg.OperationalError:
            conn = None  # lost, or the server restarts
            continue
        if answer["outcome"] != "busy":
            return answer
    raise TimeoutError(f"report {submission_id} was not taken in {tries} tries")


def generate_report(conn, project, first_day, end_day, seconds, options=None):
    """The report, if it is made in that time; None otherwise: the server stops and keeps nothing."""
    try:
        with conn.transaction():
            conn.execute("SELECT set_config('statement_timeout', %s, true)", [f"{int(seconds * 1000)}ms"])
            return conn.execute("SELECT clinical.generate_report(%s, daterange(%s, %s), %s) AS report",
                                [project, first_day, end_day, Jsonb(options or {})]).fetchone()["report"]
    except errors.QueryCanceled:
        return None


def abandon_report(project, first_day, end_day, seconds):
    """Nobody waits for the report any more: closing the connection is enough, the server notices."""
    conn = connect()
    timer = threading.Timer(seconds, lambda: conn.pgconn.finish())
    timer.start()
    try:
        return generate_report(conn, project, first_day, end_day, 3600)
    except psycopg.OperationalError:
        return None
    finally:
        timer.cancel()


def main(command, *args):
    if command == "look_up":
        result = look_up(connect(), *args)
    elif command == "submit":
        result = submit(args[0], json.loads(args[1]), *args[2:])
    elif command == "report":
        result = generate_report(connect(), *args[:3], float(args[3]))
    elif command == "abandon":
        result = abandon_report(*args[:3], float(args[3]))
    else:
        sys.exit(__doc__)
    print(json.dumps(result, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:] or [""])
