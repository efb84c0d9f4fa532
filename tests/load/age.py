#!/usr/bin/env python3
"""What an installation costs when it is old: logins and deliveries of an agent with many past conversations, memory and
start with many conversations in the store, and chat in rounds on one data folder. `BENCH_AGE=1 make bench` calls it.

Prints a table and one JSON line for each measurement. Starts `longwire all` in folders of its own, and ends it by pid.
"""
import argparse
import base64
import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

ORG, DESK, AGENT, GROUP = "df_org_uid", "df_ag_uid", "agent1", "age_group"
TICK = os.sysconf("SC_CLK_TCK")
RESULTS = []


def tell(**result):
    """One JSON line, and a line of the table at the end."""
    RESULTS.append(result)
    print(json.dumps(result), flush=True)


class Server:
    """`longwire all` on ports of its own."""

    def __init__(self, binaries, data):
        env = dict(os.environ, LONGWIRE_READY_JSON="1", LONGWIRE_CHAT__NEW_THREADS_PER_ORG="100000000")
        for name in ("MQTT__TCP_LISTEN", "MQTT__WS_LISTEN", "HTTP__LISTEN", "OPS__LISTEN"):
            env[f"LONGWIRE_{name}"] = "127.0.0.1:0"
        self.data, self.began = data, time.monotonic()
        self.process = subprocess.Popen(
            [f"{binaries}/longwire", "all", "--data", data], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        text = ""
        while True:
            line = self.process.stdout.readline()
            if not line:
                sys.exit("age: the server ended before it was ready")
            text += line
            try:
                self.at = json.loads(text)
                break
            except ValueError:
                continue
        self.ready = time.monotonic() - self.began
        secret = open(f"{data}/auth.secret", "rb").read().strip()
        self.secret = base64.b64decode(secret[7:]) if secret.startswith(b"base64:") else secret
        self.http = http.client.HTTPConnection(self.at["http"], timeout=60)

    def cpu(self):
        """Seconds of CPU that it has used."""
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self):
        """Resident memory in MiB."""
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def token(self, uid, role, aliases=()):
        claims = {"sub": uid, "org": ORG, "role": role, "aliases": list(aliases), "exp": int(time.time()) + 86400}
        part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
        text = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
        mark = hmac.new(self.secret, text, hashlib.sha256).digest()
        return (text + b"." + base64.urlsafe_b64encode(mark).rstrip(b"=")).decode()

    def ask(self, method, path, token, body=None, connection=None):
        connection = connection or self.http
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        connection.request(method, path, body and json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != 200:
            sys.exit(f"age: {method} {path}: {response.status} {text}")
        return json.loads(text)["data"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def packet(kind, body):
    """An MQTT packet."""
    length, out = len(body), b""
    while True:
        out += bytes([length & 127 | (128 if length > 127 else 0)])
        length >>= 7
        if not length:
            return bytes([kind]) + out + body


def text(value):
    data = value.encode()
    return struct.pack(">H", len(data)) + data


class Mqtt:
    """A 3.1.1 client, as far as it is needed here."""

    def __init__(self, at, client, token):
        host, port = at.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        # A session that stays, a user name and a password.
        body = text("MQTT") + bytes([4, 0xC0]) + struct.pack(">H", 0) + text(client) + text("age") + text(token)
        self.socket.sendall(packet(0x10, body))
        kind, answer = self.read()
        if kind >> 4 != 2 or answer[1] != 0:
            sys.exit(f"age: CONNACK {answer}")

    def read(self):
        """The next packet: its first byte and its body."""
        while True:
            length, shift, i = 0, 0, 1
            while i < len(self.buffer):
                byte = self.buffer[i]
                length |= (byte & 127) << shift
                shift, i = shift + 7, i + 1
                if byte < 128:
                    if len(self.buffer) < i + length:
                        break
                    found = self.buffer[0], self.buffer[i : i + length]
                    self.buffer = self.buffer[i + length :]
                    return found
            data = self.socket.recv(65536)
            if not data:
                sys.exit("age: the server closed a connection")
            self.buffer += data

    def leave(self):
        self.socket.sendall(packet(0xE0, b""))
        self.socket.close()


def message(topic, author, n, run):
    thread = {"topic": topic, "type": "AGENT", "uid": topic}
    sent = {"uid": f"{run}-{n}", "type": "TEXT", "content": "x" * 100, "status": "SENDING", "channel": "web", "thread": thread}
    return json.dumps(sent | {"user": {"uid": author, "type": "VISITOR"}}).encode()


def take_all(server):
    """The agent takes what has come while it was away, until nothing comes any more."""
    agent = Mqtt(server.at["mqtt"], f"{AGENT}/web/age", server.token(AGENT, "agent", [DESK]))
    agent.socket.settimeout(3)
    try:
        while True:
            kind, body = agent.read()
            if kind >> 4 == 3 and kind >> 1 & 3 == 1:
                at = 2 + struct.unpack(">H", body[:2])[0]
                agent.socket.sendall(packet(0x40, body[at : at + 2]))
    except TimeoutError:
        agent.leave()


def logins(server, times):
    """CPU of a login of the agent, in ms."""
    take_all(server)
    token = server.token(AGENT, "agent", [DESK])
    before = server.cpu()
    for _ in range(times):
        Mqtt(server.at["mqtt"], f"{AGENT}/web/age", token).leave()
    return (server.cpu() - before) / times * 1000


def deliveries(server, times, run):
    """CPU of a message from a visitor to the agent, in µs."""
    visitor, topic = f"{run}-now", f"org/agent/{DESK}/{run}-now"
    agent = Mqtt(server.at["mqtt"], f"{AGENT}/web/age", server.token(AGENT, "agent", [DESK]))
    sender = Mqtt(server.at["mqtt"], f"{visitor}/web/age", server.token(visitor, "visitor"))
    before, sent, acked, heard = server.cpu(), 0, 0, 0
    while heard < times:
        while sent < times and sent - acked < 64:
            body = text(topic) + struct.pack(">H", sent % 60000 + 1) + message(topic, visitor, sent, f"{run}{times}")
            sender.socket.sendall(packet(0x32, body))
            sent += 1
        while acked < sent:
            acked += sender.read()[0] >> 4 == 4
        while heard < sent:
            kind, body = agent.read()
            if kind >> 4 == 3 and kind >> 1 & 3 == 1:
                at = 2 + struct.unpack(">H", body[:2])[0]
                agent.socket.sendall(packet(0x40, body[at : at + 2]))
                heard += b"x" * 100 in body
    spent = server.cpu() - before
    agent.leave()
    sender.leave()
    return spent / times * 1e6


def past(binaries, work, counts):
    """Logins and deliveries with so many past conversations, of the agent's own desk and of a workgroup in turn."""
    server = Server(binaries, f"{work}/past")
    admin, agent = server.token("root", "admin"), server.token(AGENT, "agent", [DESK])
    server.ask("PUT", f"/api/v1/admin/directory/desks/{GROUP}", admin, {"kind": "workgroup", "agents": [DESK]})
    there = Mqtt(server.at["mqtt"], f"{AGENT}/web/there", agent)

    def end_one(n):
        connection = http.client.HTTPConnection(server.at["http"], timeout=60)
        visitor, (sid, kind, topic) = f"past{n}", [(DESK, "0", "agent"), (GROUP, "1", "workgroup")][n % 2]
        asked = {"uid": visitor, "orgUid": ORG, "sid": sid, "type": kind}
        server.ask("POST", "/visitor/api/v1/thread", server.token(visitor, "visitor"), asked, connection)
        of = {"topic": f"org/{topic}/{sid}/{visitor}"}
        server.ask("POST", "/api/v1/thread/close", admin, of, connection)
        connection.close()

    done = 0
    for count in counts:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(end_one, range(done, count)))
        done = count
        time.sleep(2)
        login = sorted(logins(server, 200) for _ in range(3))[1]
        delivery = sorted(deliveries(server, 4000, f"d{count}{n}-") for n in range(3))[1]
        tell(scenario="past", past=count, login_ms=round(login, 2), delivery_us=round(delivery, 1), memory_mib=round(server.memory()))
    there.leave()
    server.stop()


def rounds(binaries, work, number, seconds):
    """Chat at full load on one data folder, new conversations each round."""
    data = f"{work}/rounds"
    server = Server(binaries, data)
    total = 0
    for n in range(1, number + 1):
        command = [f"{binaries}/longwire-load", "pairs-max", "--payload", "chat", "--seconds", str(seconds), "--json"]
        command += ["--url", f"mqtt://{server.at['mqtt']}", "--secret-file", f"{data}/auth.secret"]
        command += ["--server-pid", str(server.process.pid)]
        ran = subprocess.run(command, capture_output=True, text=True)
        outcome = json.loads(ran.stdout.splitlines()[-1])
        if ran.returncode != 0:
            sys.exit(f"age: round {n}: {ran.stdout} {ran.stderr}")
        total += outcome["arrived"] if "arrived" in outcome else outcome["count"]
        size = sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(data) for name in names)
        tell(scenario="rounds", round=n, outcome=outcome, disk_mib=size >> 20, memory_mib=round(server.memory()))
    server.stop()


def many(binaries, work, number):
    """Memory and start with so many ended conversations in the store."""
    data = f"{work}/many"
    server = Server(binaries, data)
    admin, visitor = server.token("root", "admin"), server.token("first", "visitor")
    asked = {"uid": "first", "orgUid": ORG, "sid": DESK, "type": "0"}
    server.ask("POST", "/visitor/api/v1/thread", visitor, asked)
    topic = f"org/agent/{DESK}/first"
    server.ask("POST", "/api/v1/thread/close", admin, {"topic": topic})
    time.sleep(2)
    server.stop()
    database = sqlite3.connect(next(f"{data}/{name}" for name in sorted(os.listdir(data)) if name.endswith((".db", ".sqlite"))))
    first = database.execute("SELECT id FROM topics WHERE topic = ?", (topic,)).fetchone()[0]
    names = lambda table: [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    replaced = {
        "topics": {"id": "1000000 + n.i", "topic": f"'org/agent/{DESK}/seed' || n.i"},
        "threads": {"topic": "1000000 + n.i", "uid": "'seed' || n.i", "party": "'seed' || n.i"},
        "members": {"topic": "1000000 + n.i", "member": f"CASE member WHEN 'first' THEN 'seed' || n.i ELSE member END"},
    }
    for table, columns in replaced.items():
        key = "id" if table == "topics" else "topic"
        values = ", ".join(columns.get(name, f"t.{name}") for name in names(table))
        database.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number}) "
            f"INSERT INTO {table} SELECT {values} FROM n, {table} t WHERE t.{key} = {first}"
        )
    database.commit()
    database.close()
    server = Server(binaries, data)
    after_start = server.memory()
    sent = {"uid": "first-answer", "type": "TEXT", "content": "hello", "thread": {"topic": f"org/agent/{DESK}/seed7"}}
    sent["user"] = {"uid": "seed7", "type": "VISITOR"}
    server.ask("POST", "/visitor/api/v1/message/send", server.token("seed7", "visitor"), {"json": json.dumps(sent), "client": "WEB"})
    first_answer = time.monotonic() - server.began
    for n in range(2000):
        who = f"seed{1 + n * (number // 2000 or 1) % number}"
        sent = {"uid": f"m{n}", "type": "TEXT", "content": "hello", "thread": {"topic": f"org/agent/{DESK}/{who}"}}
        sent["user"] = {"uid": who, "type": "VISITOR"}
        server.ask("POST", "/visitor/api/v1/message/send", server.token(who, "visitor"), {"json": json.dumps(sent), "client": "WEB"})
    tell(
        scenario="many", threads=number, ready_s=round(server.ready, 2), first_answer_s=round(first_answer, 2),
        memory_mib=round(after_start), memory_after_traffic_mib=round(server.memory()),
    )
    server.stop()


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("binaries", help="the folder of longwire and longwire-load")
    args.add_argument("--only", choices=["past", "rounds", "many"], action="append")
    args.add_argument("--past", default="10,1000,10000", help="past conversations")
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--seconds", type=int, default=25, help="of each round")
    args.add_argument("--threads", type=int, default=1_000_000)
    args = args.parse_args()
    work = tempfile.mkdtemp(prefix="longwire-age.")
    try:
        wanted = args.only or ["past", "rounds", "many"]
        if "past" in wanted:
            past(args.binaries, work, [int(n) for n in args.past.split(",")])
        if "rounds" in wanted:
            rounds(args.binaries, work, args.rounds, args.seconds)
        if "many" in wanted:
            many(args.binaries, work, args.threads)
    finally:
        shutil.rmtree(work, ignore_errors=True)


main()
