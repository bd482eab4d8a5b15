#!/usr/bin/env python3
"""What the lab's Cassandra holds, as an application sees it: rows, and a ledger of what was acknowledged.

Works against legacy members and pods alike, whatever the addresses: --hosts names some of them, the driver finds the
others. Everything is written and read at QUORUM. Exit code 0: all is there; 1: something is missing or wrong.
"""

import argparse
import hashlib
import json
import logging
import signal
import subprocess
import sys
import threading
import time

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.concurrent import execute_concurrent, execute_concurrent_with_args
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy, FallthroughRetryPolicy, TokenAwarePolicy
from cassandra.query import BatchStatement, BatchType

DATACENTER = "us-east-1"
REPLICAS = 3
# Rows in one request (Cassandra warns of more), requests at the same time, and how often a failed one is made.
BATCH = 10
CONCURRENCY = 32
ATTEMPTS = 5
# Seconds: for the cluster to let clients in; for one request; between attempts to find a member that is away.
CONNECT_LIMIT_S = 180
REQUEST_LIMIT_S = 30
RECONNECT_S = 0.5
# Wrong rows that are named; more say no more.
SHOWN = 10

KEYSPACE = f"""CREATE KEYSPACE IF NOT EXISTS prod
    WITH replication = {{'class': 'NetworkTopologyStrategy', '{DATACENTER}': {REPLICAS}}}"""
ROWS = "CREATE TABLE IF NOT EXISTS prod.rows (id int PRIMARY KEY, content text)"
LEDGER = "CREATE TABLE IF NOT EXISTS prod.ledger (writer int, number bigint, content text, PRIMARY KEY ((writer, number)))"


def content(*key):
    """What a row of this key holds: told from the key alone, so that nobody needs to remember it."""
    return hashlib.blake2b(repr(key).encode(), digest_size=24).hexdigest()


def connect(hosts, request_limit_s=REQUEST_LIMIT_S, wait_s=CONNECT_LIMIT_S, connect_limit_s=5):
    """A session, once a member lets clients in."""
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(DATACENTER)),
        consistency_level=ConsistencyLevel.QUORUM,
        request_timeout=request_limit_s,
        # An error is an error: what was acknowledged must be known.
        retry_policy=FallthroughRetryPolicy(),
    )
    end = time.monotonic() + wait_s
    while True:
        cluster = Cluster(
            hosts,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            reconnection_policy=ConstantReconnectionPolicy(RECONNECT_S, None),
            protocol_version=5,
            connect_timeout=connect_limit_s,
        )
        try:
            return cluster.connect()
        except NoHostAvailable:
            cluster.shutdown()
            if time.monotonic() > end:
                raise
            time.sleep(RECONNECT_S)


def init(options):
    """Makes the keyspace, with three replicas, and the tables."""
    session = connect(options.hosts)
    # Replicas are placed by data center: before all members are there, writes at QUORUM would fail.
    end = time.monotonic() + CONNECT_LIMIT_S
    while sum(bool(host.is_up) for host in session.cluster.metadata.all_hosts()) < REPLICAS:
        if time.monotonic() > end:
            sys.exit(f"fewer than {REPLICAS} members after {CONNECT_LIMIT_S} s")
        time.sleep(RECONNECT_S)
    for statement in (KEYSPACE, ROWS, LEDGER):
        session.execute(statement, timeout=CONNECT_LIMIT_S)


def load(options):
    """Writes rows 0 to N - 1."""
    session = connect(options.hosts)
    insert = session.prepare("INSERT INTO prod.rows (id, content) VALUES (?, ?)")

    def batch(rows):
        # With as many members as replicas any coordinator writes any row: a batch costs one request, not ten.
        one = BatchStatement(BatchType.UNLOGGED)
        for row in rows:
            one.add(insert, (row, content(row)))
        return one, ()

    began = time.monotonic()
    waiting = [range(first, min(first + BATCH, options.rows)) for first in range(0, options.rows, BATCH)]
    # A machine that is busy lets writes time out: they are written again.
    for _ in range(ATTEMPTS):
        results = execute_concurrent(session, map(batch, waiting), concurrency=CONCURRENCY, raise_on_first_error=False)
        waiting = [rows for rows, (written, _) in zip(waiting, results) if not written]
        if not waiting:
            break
        time.sleep(2)
    failed = sum(map(len, waiting))
    seconds = time.monotonic() - began
    print(json.dumps({"rows": options.rows - failed, "failed": failed, "seconds": round(seconds, 1)}))
    return not failed


def check(options):
    """Reads all rows: that none is missing, changed or too many."""
    session = connect(options.hosts)
    # By ranges of tokens, which is much faster than by rows. The driver asks for a range's replicas.
    select = session.prepare("SELECT id, content FROM prod.rows WHERE token(id) > ? AND token(id) <= ?")
    select.fetch_size = 1000
    edges = [-(2**63) + index * 2**57 for index in range(128)] + [2**63 - 1]
    began = time.monotonic()
    found, wrong = set(), []
    for low, high in zip(edges, edges[1:]):
        for row in read_again(session, select, (low, high)):
            found.add(row.id)
            if row.content != content(row.id) or not 0 <= row.id < options.rows:
                wrong.append(row.id)
    missing = sorted(set(range(options.rows)) - found)
    result = {"rows": len(found), "missing": len(missing), "wrong": len(wrong)}
    result |= {"examples": missing[:SHOWN] + wrong[:SHOWN], "seconds": round(time.monotonic() - began, 1)}
    print(json.dumps(result))
    return not missing and not wrong


def read_again(session, statement, arguments, attempts=ATTEMPTS):
    """All rows of a statement; a read changes nothing and may be tried again."""
    while True:
        try:
            return list(session.execute(statement, arguments))
        except Exception:
            attempts -= 1
            if not attempts:
                raise
            time.sleep(1)


class Application:
    """A session that finds the cluster again wherever it went, as an application with names for addresses would."""

    def __init__(self, hosts, elsewhere):
        self.hosts, self.elsewhere, self.lock = hosts, elsewhere, threading.Lock()
        self.found = None
        self.find()

    def find(self):
        """Connects to whoever lets clients in, where the cluster went first."""
        moved = subprocess.run(self.elsewhere, shell=True, capture_output=True, text=True).stdout if self.elsewhere else ""
        session = connect(moved.split() + self.hosts, request_limit_s=5, connect_limit_s=1, wait_s=0)
        insert = session.prepare("INSERT INTO prod.ledger (writer, number, content) VALUES (?, ?, ?)")
        select = session.prepare("SELECT content FROM prod.ledger WHERE writer = ? AND number = ?")
        old, self.found = self.found, (session, insert, select)
        if old:
            old[0].cluster.shutdown()

    def find_again(self, failed):
        """After a failure of that session, unless another thread has found the cluster already."""
        with self.lock:
            if self.found[0] is failed:
                self.find()


def hammer(options):
    """Writes without end and reads each row back, until SIGTERM. Appends what was acknowledged to the ledger.

    A line of the ledger: time of the acknowledgement, writer, number. Outages are lived through: they are counted and
    the longest is told at the end, with reads that did not find what was acknowledged before.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    application = Application(options.hosts, options.elsewhere)
    lock = threading.Lock()
    written, failed, stale = [0], [], []
    last, longest = [time.monotonic()], [0.0]

    def work(writer, ledger):
        number = options.first
        while not stop.is_set():
            number += 1
            session, insert, select = application.found
            try:
                session.execute(insert, (writer, number, content(writer, number)))
                with lock:
                    longest[0] = max(longest[0], time.monotonic() - last[0])
                    last[0] = time.monotonic()
                    # On its way to the file before the next write begins: a ledger that lags would hide a loss.
                    ledger.write(f"{time.time():.3f} {writer} {number}\n")
                    ledger.flush()
                    written[0] += 1
                row = session.execute(select, (writer, number)).one()
                if row is None or row.content != content(writer, number):
                    stale.append((writer, number))
            except Exception as error:
                failed.append((time.time(), type(error).__name__))
                stop.wait(0.2)
                try:
                    application.find_again(session)
                except Exception:
                    # Nobody lets clients in: the next write fails, and looks again.
                    pass
            stop.wait(options.pause_s)

    print("hammering", file=sys.stderr, flush=True)
    with open(options.ledger, "a", encoding="ascii") as ledger:
        writers = [threading.Thread(target=work, args=(writer, ledger)) for writer in range(options.writers)]
        for one in writers:
            one.start()
        for one in writers:
            one.join()
    result = {"acknowledged": written[0], "failed": len(failed), "stale_reads": len(stale)}
    result |= {"longest_gap_s": round(longest[0], 1)}
    print(json.dumps(result))
    return not stale


def verify_ledger(options):
    """Reads every write of the ledger that was acknowledged until a time."""
    with open(options.ledger, encoding="ascii") as ledger:
        # A line that was cut off by the end of its writer has no newline.
        lines = [line.split() for line in ledger if line.endswith("\n")]
    keys = [(int(writer), int(number)) for when, writer, number in lines if float(when) <= options.until]
    session = connect(options.hosts)
    select = session.prepare("SELECT content FROM prod.ledger WHERE writer = ? AND number = ?")
    lost, unread = [], keys
    for _ in range(ATTEMPTS):
        results = execute_concurrent_with_args(session, select, unread, concurrency=CONCURRENCY, raise_on_first_error=False)
        again = []
        for key, (was_read, result) in zip(unread, results):
            if not was_read:
                again.append(key)
            elif (row := result.one()) is None or row.content != content(*key):
                lost.append(key)
        unread = again
        if not unread:
            break
        time.sleep(1)
    print(json.dumps({"acknowledged": len(keys), "lost": len(lost), "unread": len(unread), "examples": lost[:SHOWN]}))
    return not lost and not unread


def main():
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--hosts", required=True, type=lambda text: text.split(","), help="addresses, separated by commas")

    def command(do):
        name = do.__name__.replace("_", "-")
        added = commands.add_parser(name, help=do.__doc__.splitlines()[0], description=do.__doc__, parents=[common])
        added.set_defaults(do=do)
        return added

    command(init)
    command(load).add_argument("--rows", required=True, type=int)
    command(check).add_argument("--rows", required=True, type=int)
    added = command(hammer)
    added.add_argument("--ledger", required=True, help="file to append to")
    added.add_argument("--elsewhere", metavar="COMMAND", help="prints the addresses where the cluster may have gone")
    added.add_argument("--writers", type=int, default=4)
    added.add_argument("--pause-s", type=float, default=0.01, help="between two writes of a writer")
    added.add_argument("--first", type=int, default=time.time_ns() // 1000, help="numbers begin after this; by default none comes twice")
    added = command(verify_ledger)
    added.add_argument("--ledger", required=True)
    added.add_argument("--until", type=float, default=float("inf"), help="time (Unix, seconds): ignore later writes")
    options = parser.parse_args()
    result = options.do(options)
    sys.stdout.flush()
    sys.exit(1 if result is False else 0)


if __name__ == "__main__":
    main()
