"""Measures the MCP server: start, memory, and the time that a tool adds to the HTTP call that it makes.

    mcp_speed.py PROGRAM URL TOKEN_FILE

URL is a boundary with `mcp = true`, and TOKEN_FILE has a token of it. Each figure is the median of many calls.
"""

import http.client
import json
import pathlib
import statistics
import subprocess
import sys
import time
import urllib.parse

CLIENT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "speed", "version": "1"}}
CALL = {"name": "list_steps", "arguments": {}}


def message(method, params, id=1):
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def timed(calls, call):
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def main(program, url, token_file):
    token = pathlib.Path(token_file).read_text().strip()
    words = [program, "mcp", "--url", url, "--token-file", token_file]

    def start():
        server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for method, params in [("initialize", CLIENT), ("tools/list", {})]:
            ask(server, method, params)
        return server

    def ask(server, method, params):
        server.stdin.write(message(method, params).encode() + b"\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    servers = []
    begin = timed(20, lambda: servers.append(start()))
    server = servers[0]
    stdio = timed(500, lambda: ask(server, "tools/call", CALL))
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text().splitlines()
    memory = next(int(line.split()[1]) / 1000 for line in status if line.startswith("VmRSS"))
    anonymous = next(int(line.split()[1]) / 1000 for line in status if line.startswith("RssAnon"))
    for one in servers:
        one.stdin.close()
        one.wait()

    at = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    headers["Accept"] = "application/json, text/event-stream"

    def request(method, path, body=None):
        at.request(method, path, body, headers)
        answer = at.getresponse()
        text = answer.read()
        assert answer.status == 200, (answer.status, text)

    plain = timed(500, lambda: request("GET", "/v1/registry"))
    inside = timed(500, lambda: request("POST", "/mcp", message("tools/call", CALL)))
    print(f"start to tools list on stdio: {begin:.1f} ms")
    print(f"memory of `countersign mcp`: {memory:.1f} MB, of which {anonymous:.1f} MB are not pages of the program file")
    print(f"GET /v1/registry: {plain:.2f} ms; list_steps at /mcp: {inside:.2f} ms; list_steps on stdio: {stdio:.2f} ms")


main(*sys.argv[1:])
