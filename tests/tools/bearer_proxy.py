"""Forwards HTTP requests to a boundary and adds a bearer token, for test programs that cannot send one.

    bearer_proxy.py URL TOKEN_FILE

Prints the address of the proxy, and serves until it is killed. The headers Host and Origin are forwarded as the client
sent them, except that the port of the proxy becomes the port of the boundary.
"""

import http.client
import http.server
import pathlib
import sys
import urllib.parse

HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "authorization"}


def main(url, token_file):
    target = urllib.parse.urlsplit(url)
    token = pathlib.Path(token_file).read_text().strip()

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def forward(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            own = f":{self.server.server_port}"
            headers = {
                name: value.replace(own, f":{target.port}") if name.lower() in {"host", "origin"} else value
                for name, value in self.headers.items()
                if name.lower() not in HOP
            }
            headers["Authorization"] = f"Bearer {token}"
            to = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
            to.request(self.command, self.path, body or None, headers)
            answer = to.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.end_headers()
            while piece := answer.read1(1 << 16):
                self.wfile.write(piece)
                self.wfile.flush()
            to.close()

        do_GET = do_POST = do_DELETE = forward

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


main(*sys.argv[1:])
