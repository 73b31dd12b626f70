#!/usr/bin/python3
# gateway_cancel.py: how soon a call ends in the server when its client has gone.  Prints milliseconds, a line each.
#
#   gateway_cancel.py DATABASE PORT PATH TOKEN NUMBER
#
# The call must be one that waits; it is looked for by the login of the gateway.
import random
import socket
import sys
import time

import psycopg

database, port, path, token, number = sys.argv[1:]
request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

with psycopg.connect(database, autocommit=True) as connection:
    cursor = connection.cursor()

    def wait_for(calls):
        limit = time.monotonic() + 30
        while True:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'gateway' AND state = 'active'", prepare=True)
            if cursor.fetchone()[0] == calls:
                return
            if time.monotonic() > limit:
                sys.exit(f"there are not {calls} calls")

    for _ in range(int(number)):
        client = socket.create_connection(("127.0.0.1", int(port)))
        client.sendall(request)
        wait_for(1)
        time.sleep(random.uniform(0, 0.05))
        begun = time.monotonic()
        client.close()
        wait_for(0)
        print(f"{(time.monotonic() - begun) * 1000:.2f}")
