#!/usr/bin/env python3
"""Kills a command with -9 at one exact call that changes something.

The command sees the lab's account and cluster through two proxies, which note the calls that change something (renewals
of leases do not count). At the first one whose name matches --kill-at it is killed
  before   the call arrives: it was in flight, and had no effect
  lost     after its effect, before its reply arrives
  after    once the reply has arrived: between two calls
Names: `CreateSnapshots`; `SendCommand TASK` of a script of rehome's; `POST /api/v1/...`; `exec enablebinary`.
Prints one line of JSON: how the command ended, at which call, and all calls. Without --kill-at it only notes them."""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from urllib.parse import parse_qs

HOST = "127.0.0.1"
# The command may take so long, in seconds.
LIMIT_S = 1500
# Reads of EC2, Auto Scaling and STS begin so; SSM's are named in a header.
READS = ("Describe", "Get", "List")
# Kubernetes objects whose writes are bookkeeping of time, and questions that are POSTed.
NOT_COUNTED = re.compile(r"/leases|selfsubjectaccessreviews|subjectaccessreviews")


class Chaos:
    def __init__(self, options):
        self.options = options
        self.calls = []
        self.child = None
        self.killed_at = None

    def changes(self, method, path, headers, body):
        """The name of a call that changes something, or None."""
        target = headers.get("x-amz-target")
        if target:
            name = target.split(".")[-1]
            # rehome's scripts say in their first line what they are.
            task = re.search(rb"# rehome ([a-z-]+) ", body)
            name += f" {task[1].decode()}" if task else ""
            return None if name.startswith(READS) else name
        if path == "/" and method == "POST":
            form = parse_qs(body.decode())
            name = form.get("Action", ["?"])[0]
            return None if name.startswith(READS) or form.get("DryRun") == ["true"] else name
        if "/exec?" in path and "enablebinary" in path:
            return "exec enablebinary"
        if method in ("GET", "HEAD") or NOT_COUNTED.search(path):
            return None
        return f"{method} {path.split('?')[0]}"

    def due(self, name):
        self.calls.append(name)
        return self.options.kill_at and re.fullmatch(self.options.kill_at, name)

    def kill(self, name):
        if self.killed_at is None and self.child.poll() is None:
            self.child.kill()
            self.killed_at = name

    async def serve(self, upstream):
        async def connected(reader, writer):
            try:
                await self.relay(reader, writer, upstream)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connected, HOST, 0)
        return server.sockets[0].getsockname()[1]

    async def relay(self, reader, writer, upstream):
        up_reader, up_writer = await asyncio.open_connection(*upstream)
        try:
            while True:
                head, method, path, headers = await request_head(reader)
                if head is None:
                    return
                body = await read_body(reader, headers)
                name = self.changes(method, path, headers, b"".join(body_content(headers, body)))
                due = name is not None and self.due(name)
                if due and self.options.mode == "before":
                    self.kill(name)
                    return
                up_writer.write(head + body)
                await up_writer.drain()
                reply_head, status, reply_headers = await response_head(up_reader)
                if status == 101:
                    writer.write(reply_head)
                    await tunnel(reader, writer, up_reader, up_writer)
                    if due:
                        self.kill(name)
                    return
                if is_stream(reply_headers, status, method):
                    # A watch: passed on as it comes.
                    writer.write(reply_head)
                    await pump(up_reader, writer)
                    return
                reply = await read_body(up_reader, reply_headers) if has_body(status, method) else b""
                if due and self.options.mode == "lost":
                    self.kill(name)
                    return
                writer.write(reply_head + reply)
                await writer.drain()
                if due:
                    self.kill(name)
                    return
        finally:
            up_writer.close()


async def read_head(reader):
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None


def parse_headers(lines):
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip().lower(): value.strip() for key, value in pairs}


async def request_head(reader):
    head = await read_head(reader)
    if head is None:
        return None, None, None, None
    first, *rest = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    return head, method, path, parse_headers(rest)


async def response_head(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    return head, int(first.split(" ")[1]), parse_headers(rest)


def has_body(status, method):
    return method != "HEAD" and status not in (204, 304)


def is_stream(headers, status, method):
    framed = "content-length" in headers or headers.get("transfer-encoding", "").lower() == "chunked"
    return has_body(status, method) and not framed


async def read_body(reader, headers):
    """The body as it was sent, chunks and all."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    parts = []
    while True:
        size = await reader.readuntil(b"\r\n")
        parts.append(size)
        parts.append(await reader.readexactly(int(size.split(b";")[0], 16) + 2))
        if int(size.split(b";")[0], 16) == 0:
            return b"".join(parts)


def body_content(headers, body):
    """The body without its chunks."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        yield body
        return
    while body:
        size, body = body.split(b"\r\n", 1)
        length = int(size.split(b";")[0], 16)
        yield body[:length]
        body = body[length + 2 :]


async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def tunnel(reader, writer, up_reader, up_writer):
    """Both directions of an upgraded connection, until one ends."""
    ways = [asyncio.create_task(pump(reader, up_writer)), asyncio.create_task(pump(up_reader, writer))]
    _, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way in left:
        way.cancel()


def kubeconfig(port):
    text = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "chaos", "cluster": {"server": f"http://{HOST}:{port}"}}],
        "users": [{"name": "chaos", "user": {}}],
        "contexts": [{"name": "chaos", "context": {"cluster": "chaos", "user": "chaos"}}],
        "current-context": "chaos",
    }
    file = tempfile.NamedTemporaryFile("w", suffix=".kubeconfig", delete=False)
    json.dump(text, file)
    file.close()
    return file.name


async def kubectl_proxy():
    """`kubectl proxy` speaks TLS and the user's certificate, so that the calls can be counted in plain text."""
    command = ["kubectl", "proxy", "--port=0", "--reject-paths=^$"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    return process, int(line.rsplit(":", 1)[1])


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kill-at", metavar="REGEX")
    parser.add_argument("--mode", choices=("before", "lost", "after"), default="before")
    parser.add_argument("--log", help="where the command's output goes, at the end")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    chaos = Chaos(options)
    account = os.environ["AWS_ENDPOINT_URL"].rsplit("/", 1)[1].split(":")
    proxy, port = await kubectl_proxy()
    config = None
    try:
        cloud_port = await chaos.serve((account[0], int(account[1])))
        config = kubeconfig(await chaos.serve((HOST, port)))
        environment = dict(os.environ, AWS_ENDPOINT_URL=f"http://{HOST}:{cloud_port}", KUBECONFIG=config)
        output = open(options.log, "ab") if options.log else None
        chaos.child = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        for _ in range(LIMIT_S * 10):
            if chaos.child.poll() is not None:
                break
            await asyncio.sleep(0.1)
        else:
            chaos.child.kill()
            sys.exit(f"{command[0]} was not over after {LIMIT_S} s")
    finally:
        proxy.terminate()
        await proxy.wait()
        if config:
            os.unlink(config)
    code = chaos.child.wait()
    result = {"killed_at": chaos.killed_at, "mode": options.mode, "exit_code": code, "names": chaos.calls}
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
