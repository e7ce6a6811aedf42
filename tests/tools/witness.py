#!/usr/bin/env python3
"""A small witness of logs (c2sp.org/tlog-witness), for tests: strict, with Python's standard library and openssl only.

It cosigns a checkpoint when a log that it knows signed it and it continues the last one that was cosigned, writes that
down before it answers, and never goes back. Written from the pages of C2SP, with no code of ours.

    witness.py --name NAME --key PEM --logs FILE --state FILE [--port N] [--fault FAULT]

FILE of --logs holds a verifier key of a log a line, and is read at each request. Prints its address, then serves.
FAULT is what a bad witness does: garbage, other-key, other-text, future, hang, size (always another one), restless;
slow answers well, but late.
"""
import argparse
import base64
import hashlib
import http.server
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time


class Refused(Exception):
    def __init__(self, status, body=b"", media="text/plain"):
        super().__init__(status)
        self.status, self.body, self.media = status, body, media


def key_id(name, algorithm, key):
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + key).digest()[:4]


def parse_vkey(vkey):
    name, identity, encoded = vkey.split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    if len(raw) != 33 or raw[0] != 1 or key_id(name, 1, raw[1:]).hex() != identity:
        raise ValueError("not a verifier key of a log: " + vkey)
    return name, raw[1:]


def openssl(arguments, *files):
    """Runs openssl pkeyutl with the contents of `files` in files of these options."""
    with tempfile.TemporaryDirectory() as directory:
        command = ["openssl", "pkeyutl", *arguments]
        for at, (option, content) in enumerate(files):
            path = os.path.join(directory, str(at))
            with open(path, "wb") as file:
                file.write(content)
            command += [option, path]
        return subprocess.run(command, capture_output=True, check=False)


def verify(key, message, signature):
    der = bytes.fromhex("302a300506032b6570032100") + key
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"
    done = openssl(["-verify", "-pubin", "-rawin"], ("-inkey", pem), ("-in", message), ("-sigfile", signature))
    return done.returncode == 0


def sign(pem, message):
    done = openssl(["-sign", "-rawin"], ("-inkey", pem), ("-in", message))
    if done.returncode or len(done.stdout) != 64:
        raise RuntimeError(done.stderr.decode())
    return done.stdout


def public_of(path):
    done = subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"], capture_output=True, check=True)
    return done.stdout[-32:]


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def is_consistent(first, second, first_root, second_root, path):
    """RFC 9162, section 2.1.4.2, for 0 < first < second."""
    path = list(path)
    if not path:
        return False
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == first_root and sr == second_root


def decimal(text):
    if not text.isascii() or not text.isdigit() or str(int(text)) != text:
        raise Refused(400, b"not a number\n")
    return int(text)


class Witness:
    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        with open(options.key, "rb") as file:
            self.pem = file.read()
        self.public = public_of(options.key)
        self.turn = 0

    def logs(self):
        try:
            with open(self.options.logs, encoding="utf-8") as file:
                return dict(parse_vkey(line.strip()) for line in file if line.strip())
        except FileNotFoundError:
            return {}

    def state(self):
        try:
            with open(self.options.state, encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return {}

    def keep(self, state):
        path = self.options.state + ".new"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path, self.options.state)

    def add_checkpoint(self, body):
        try:
            text = body.decode()
            head, checkpoint = text.split("\n\n", 1)
            lines = head.split("\n")
            if not lines[0].startswith("old "):
                raise Refused(400, b"no old size\n")
            old = decimal(lines[0][4:])
            proof = [base64.b64decode(line, validate=True) for line in lines[1:]]
            if len(proof) > 63 or any(len(hash_) != 32 for hash_ in proof):
                raise Refused(400, b"not a proof\n")
            split = checkpoint.rindex("\n\n")
            note, signatures = checkpoint[: split + 1], checkpoint[split + 2 :]
            origin, size, root = note.split("\n")[:3]
            size, root = decimal(size), base64.b64decode(root, validate=True)
        except (ValueError, UnicodeDecodeError) as error:
            raise Refused(400, b"malformed\n") from error
        key = self.logs().get(origin)
        if key is None:
            raise Refused(404, b"unknown log\n")
        if not self.is_signed(note, signatures, origin, key):
            raise Refused(403, b"not signed by the log\n")
        if old > size:
            raise Refused(400, b"old is larger\n")
        # The lock covers the comparison and the write, so a smaller size cannot follow a larger one.
        with self.lock:
            state = self.state()
            last = state.get(origin, {"size": 0, "root": ""})
            if old != last["size"]:
                raise Refused(409, f"{last['size']}\n".encode(), "text/x.tlog.size")
            known = base64.b64decode(last["root"])
            if old == size:
                if size and known != root:
                    raise Refused(409, f"{last['size']}\n".encode(), "text/x.tlog.size")
                if proof:
                    raise Refused(422, b"a proof of nothing\n")
            elif old == 0:
                if proof:
                    raise Refused(422, b"a proof of nothing\n")
            elif not is_consistent(old, size, known, root, proof):
                raise Refused(422, b"not the continuation\n")
            state[origin] = {"size": size, "root": base64.b64encode(root).decode()}
            self.keep(state)
        return self.cosign(note)

    def is_signed(self, note, signatures, origin, key):
        identity = key_id(origin, 1, key)
        for line in signatures.split("\n")[:-1]:
            mark, name, encoded = line.split(" ")
            raw = base64.b64decode(encoded, validate=True)
            if mark == "\u2014" and name == origin and raw[:4] == identity and verify(key, note.encode(), raw[4:]):
                return True
        return False

    def cosign(self, note):
        seconds = int(time.time()) + (3600 if self.options.fault == "future" else 0)
        public = bytes(32) if self.options.fault == "other-key" else self.public
        text = note.replace("\n", "\nx", 1) if self.options.fault == "other-text" else note
        signature = sign(self.pem, f"cosignature/v1\ntime {seconds}\n{text}".encode())
        raw = key_id(self.options.name, 4, public) + struct.pack(">Q", seconds) + signature
        return f"\u2014 {self.options.name} {base64.b64encode(raw).decode()}\n".encode()

    def answer(self, body):
        fault = self.options.fault
        if fault == "garbage":
            return b"\x00\xff 200 very well\n"
        if fault == "hang":
            time.sleep(3600)
        if fault == "slow":
            time.sleep(6.5)
        if fault == "size":
            raise Refused(409, b"1000000\n", "text/x.tlog.size")
        if fault == "restless":
            self.turn += 1
            raise Refused(409, f"{1 + self.turn % 2}\n".encode(), "text/x.tlog.size")
        return self.add_checkpoint(body)


def handler(witness):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            try:
                length = int(self.headers.get("content-length", "-1"))
                if self.path != "/add-checkpoint" or not 0 <= length <= 1 << 20:
                    raise Refused(404 if self.path != "/add-checkpoint" else 400)
                status, media, body = 200, "text/plain", witness.answer(self.rfile.read(length))
            except Refused as refused:
                status, media, body = refused.status, refused.media, refused.body
            self.send_response(status)
            self.send_header("content-type", media)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser()
    for option in ("--name", "--key", "--logs", "--state"):
        parser.add_argument(option, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fault", default="")
    options = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), handler(Witness(options)))
    server.daemon_threads = True
    # A closed connection of a client is not an error.
    server.handle_error = lambda *_: None
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
