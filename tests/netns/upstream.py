#!/usr/bin/env python3
"""The "internet" of the lab: HTTPS and HTTP servers and a name server, for tests and the demo.

usage: upstream.py DIR IP4 IP6    (DIR holds names.json, NAME.crt/.key, git/; received.jsonl is written there)

Every request that arrives is logged as it was received, so that a test can say what an upstream saw.
Endpoints: /echo /bytes /sink /sse /status /headers /raw /slow /hang /reset /git/...
"""
import hashlib
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse

DIR, IP4, IP6 = sys.argv[1], sys.argv[2], sys.argv[3]
NAMES = json.load(open(os.path.join(DIR, "names.json")))
LOG = open(os.path.join(DIR, "received.jsonl"), "a", buffering=1)
LOG_LOCK = threading.Lock()
BLOCK = (b"0123456789abcdef" * 64 + b"\n") * 64  # 65,600 bytes of text


class Gone(Exception):
    """The peer closed the connection."""


class Reader:
    """Buffered reading with exact framing."""

    def __init__(self, sock):
        self.sock, self.buf = sock, bytearray()

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        self.buf += data

    def line(self):
        while b"\r\n" not in self.buf:
            self.fill()
        line, _, rest = bytes(self.buf).partition(b"\r\n")
        self.buf = bytearray(rest)
        return line

    def pieces(self, n):
        while n:
            if not self.buf:
                self.fill()
            piece = bytes(self.buf[:n])
            del self.buf[:n]
            n -= len(piece)
            yield piece

    def body(self, headers):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                size = int(self.line().split(b";")[0], 16)
                if size == 0:
                    while self.line():
                        pass
                    return
                yield from self.pieces(size)
                self.line()
        else:
            yield from self.pieces(int(headers.get("content-length", 0)))


class Connection:
    def __init__(self, sock, peer, host_name, port):
        self.sock, self.peer, self.sni, self.port = sock, peer, host_name, port
        self.reader = Reader(sock)

    def serve(self):
        while self.one():
            pass

    def log(self, **entry):
        with LOG_LOCK:
            LOG.write(json.dumps(dict(entry, sni=self.sni, port=self.port, time=time.time())) + "\n")

    def one(self):
        line = self.reader.line().decode("latin-1")
        method, target, _ = line.split(" ", 2)
        pairs = []
        while True:
            field = self.reader.line().decode("latin-1")
            if not field:
                break
            name, _, value = field.partition(":")
            pairs.append((name, value.strip()))
        headers = {k.lower(): v for k, v in pairs}
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        self.head = dict(method=method, target=target, headers=pairs)
        name = url.path.strip("/").split("/")[0] or "echo"
        handler = getattr(self, "do_" + name, self.do_missing)
        return handler(method, url, query, headers) is not False and headers.get("connection", "") != "close"

    # --- answers -------------------------------------------------------------------------------
    def send(self, status, body=b"", headers=(), head_only=False):
        head = ["HTTP/1.1 %d %s" % (status, "OK" if status == 200 else "Status")]
        head += ["%s: %s" % kv for kv in headers]
        head += ["Content-Length: %d" % len(body), "", ""]
        self.sock.sendall("\r\n".join(head).encode("latin-1") + (b"" if head_only else body))

    def start(self, status=200, headers=(), chunked=True):
        head = ["HTTP/1.1 %d OK" % status] + ["%s: %s" % kv for kv in headers]
        if chunked:
            head.append("Transfer-Encoding: chunked")
        self.sock.sendall(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))

    def chunk(self, data):
        self.sock.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def whole_body(self, headers):
        body = b"".join(self.reader.body(headers))
        self.log(body=body[:65536].decode("latin-1"), **self.head)
        return body

    # --- endpoints -----------------------------------------------------------------------------
    def do_echo(self, method, url, query, headers):
        """What arrived, as JSON: a real token sent here comes straight back."""
        body = self.whole_body(headers)
        text = json.dumps(dict(self.head, body=body.decode("latin-1")), indent=1).encode()
        extra = [("Content-Type", "application/json")]
        if "header" in query:
            extra.append(("X-Echo", headers.get(query["header"].lower(), "")))
        self.send(200, text, extra, head_only=method == "HEAD")

    def do_mirror(self, method, url, query, headers):
        """The request's body back, chunk by chunk as it comes."""
        self.log(**self.head)
        self.start()
        for piece in self.reader.body(headers):
            self.chunk(piece)
        self.sock.sendall(b"0\r\n\r\n")

    def do_bytes(self, method, url, query, headers):
        """n bytes; how=length|chunked|close; tail is put at the very end."""
        self.whole_body(headers)
        n, tail = int(query.get("n", 0)), query.get("tail", "").encode("latin-1")
        how = query.get("how", "length")
        if how == "length":
            self.start(200, [("Content-Type", "application/octet-stream"),
                             ("Content-Length", str(n + len(tail)))], chunked=False)
        else:
            self.start(200, [("Connection", "close")] if how == "close" else [], chunked=how == "chunked")
        put = self.chunk if how == "chunked" else self.sock.sendall
        view = memoryview(BLOCK)
        left = n
        while left:
            piece = view[:min(left, len(BLOCK))]
            put(bytes(piece) if how == "chunked" else piece)
            left -= len(piece)
        if tail:
            put(tail)
        if how == "chunked":
            self.sock.sendall(b"0\r\n\r\n")
        return how != "close"

    def do_sink(self, method, url, query, headers):
        """Reads everything; says how much and its SHA-256. rate=bytes/s makes it a slow reader."""
        n, digest, rate = 0, hashlib.sha256(), int(query.get("rate", 0))
        for piece in self.reader.body(headers):
            n += len(piece)
            digest.update(piece)
            if rate:
                time.sleep(len(piece) / rate)
        self.log(bytes=n, sha256=digest.hexdigest(), **self.head)
        self.send(200, json.dumps({"bytes": n, "sha256": digest.hexdigest()}).encode())

    def do_sse(self, method, url, query, headers):
        """n events, pause seconds apart, each with its sending time; split=1 sends each byte alone."""
        self.whole_body(headers)
        self.start(200, [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")])
        for i in range(int(query.get("n", 5))):
            event = ("data: {\"i\": %d, \"sent\": %.6f, \"text\": \"%s\"}\n\n"
                     % (i, time.time(), query.get("text", ""))).encode()
            if "split" in query:
                for b in event:
                    self.chunk(bytes([b]))
            else:
                self.chunk(event)
            time.sleep(float(query.get("pause", 0.2)))
        self.sock.sendall(b"0\r\n\r\n")

    def do_status(self, method, url, query, headers):
        self.whole_body(headers)
        status = int(url.path.split("/")[2])
        extra = [("Location", query["location"])] if "location" in query else []
        if status in (204, 304):
            self.sock.sendall(b"HTTP/1.1 %d X\r\nX-Test: yes\r\n\r\n" % status)
        else:
            self.send(status, b"status\n", extra)

    def do_raw(self, method, url, query, headers):
        """The bytes of a file raw-NAME, sent as they are; then the connection ends."""
        self.whole_body(headers)
        pause = float(query.get("pause", 0))
        data = open(os.path.join(DIR, "raw-" + query["file"]), "rb").read()
        if pause:
            for b in data:
                self.sock.sendall(bytes([b]))
                time.sleep(pause)
        else:
            self.sock.sendall(data)
        return False

    def do_slow(self, method, url, query, headers):
        self.whole_body(headers)
        time.sleep(float(query.get("s", 1)))
        self.send(200, b"late\n")

    def do_hang(self, method, url, query, headers):
        self.whole_body(headers)
        time.sleep(float(query.get("s", 30)))
        return False

    def do_reset(self, method, url, query, headers):
        """Breaks off in the middle of a body."""
        self.whole_body(headers)
        self.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + BLOCK)
        return False

    def do_git(self, method, url, query, headers):
        """git http-backend; a private repository wants the user and password of git.auth."""
        auth = open(os.path.join(DIR, "git.auth")).read().strip()
        body = self.whole_body(headers)
        if headers.get("authorization") != auth:
            self.send(401, b"who are you?\n", [("WWW-Authenticate", 'Basic realm="git"')])
            return True
        env = dict(os.environ, GIT_PROJECT_ROOT=os.path.join(DIR, "git"), GIT_HTTP_EXPORT_ALL="1",
                   PATH_INFO=url.path[len("/git"):], QUERY_STRING=url.query, REQUEST_METHOD=method,
                   CONTENT_TYPE=headers.get("content-type", ""), CONTENT_LENGTH=str(len(body)),
                   REMOTE_USER="agent", HTTP_GIT_PROTOCOL=headers.get("git-protocol", ""),
                   HTTP_CONTENT_ENCODING=headers.get("content-encoding", ""))
        out = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=env).stdout
        head, _, data = out.partition(b"\r\n\r\n")
        fields = [tuple(h.split(": ", 1)) for h in head.decode("latin-1").split("\r\n") if ": " in h]
        status = next((int(v.split()[0]) for k, v in fields if k == "Status"), 200)
        self.send(status, data, [f for f in fields if f[0] not in ("Status", "Content-Length")])
        return True

    def do_missing(self, method, url, query, headers):
        self.whole_body(headers)
        self.send(404, b"no such endpoint\n")


# --- listening ---------------------------------------------------------------------------------
def tls_contexts():
    contexts = {}
    for name, cert in NAMES["tls"].items():
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(os.path.join(DIR, cert + ".crt"), os.path.join(DIR, cert + ".key"))
        c.set_alpn_protocols(["http/1.1"])
        contexts[name] = c
    return contexts


def choose(contexts):
    def callback(sock, name, _):
        sock.sni_seen = name or ""
        wanted = contexts.get(name) or contexts.get("*." + (name or "").partition(".")[2])
        if wanted:
            sock.context = wanted
    return callback


def serve_one(sock, peer, context, port):
    try:
        sock.settimeout(120)
        name = ""
        if context:
            sock = context.wrap_socket(sock, server_side=True)
            name = getattr(sock, "sni_seen", "")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Connection(sock, peer, name, port).serve()
    except (Gone, OSError, ValueError, KeyError):
        pass
    finally:
        try:
            if context:
                sock.settimeout(1)
                sock.unwrap()  # close_notify: an end that can be told from a cut
        except (OSError, ValueError):
            pass
        try:
            sock.close()
        except OSError:
            pass


def listen(ip, port, context):
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((ip, port))
    s.listen(512)

    def loop():
        while True:
            sock, peer = s.accept()
            threading.Thread(target=serve_one, args=(sock, peer, context, port), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()


def serve_greeting(ip, port):
    """A server-first protocol: says hello with a token in it, then echoes."""
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((ip, port))
    s.listen(16)

    def one(sock):
        with sock:
            sock.sendall(("220 ready %s\r\n" % NAMES.get("greeting", "")).encode())
            while True:
                data = sock.recv(65536)
                if not data:
                    return
                sock.sendall(data)

    def loop():
        while True:
            sock, _ = s.accept()
            threading.Thread(target=one, args=(sock,), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()


# --- names ---------------------------------------------------------------------------------------
def name_of(packet):
    labels, at = [], 12
    while packet[at]:
        labels.append(packet[at + 1:at + 1 + packet[at]].decode("latin-1"))
        at += packet[at] + 1
    return ".".join(labels).lower(), at + 5


def serve_dns(ip):
    s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((ip, 53))
    while True:
        packet, peer = s.recvfrom(4096)
        try:
            name, end = name_of(packet)
        except IndexError:
            continue
        kind = struct.unpack(">H", packet[end - 4:end - 2])[0]
        found = NAMES["dns"].get(name) or NAMES["dns"].get("*." + name.partition(".")[2])
        with LOG_LOCK:
            LOG.write(json.dumps({"dns": name, "type": kind}) + "\n")
        answers = b""
        for text in found or []:
            family = socket.AF_INET6 if ":" in text else socket.AF_INET
            if kind == (28 if family == socket.AF_INET6 else 1):
                raw = socket.inet_pton(family, text)
                answers += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 30, len(raw)) + raw
        count = answers.count(b"\xc0\x0c\x00")
        head = packet[:2] + struct.pack(">HHHHH", 0x8180 if found else 0x8183, 1, count, 0, 0)
        s.sendto(head + packet[12:end] + answers, peer)


def main():
    contexts = tls_contexts()
    front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    default = NAMES["tls"][NAMES["default"]]
    front.load_cert_chain(os.path.join(DIR, default + ".crt"), os.path.join(DIR, default + ".key"))
    front.sni_callback = choose(contexts)
    front.set_alpn_protocols(["http/1.1"])
    for ip in (IP4, IP6):
        listen(ip, 443, front)
        listen(ip, 8443, front)
        listen(ip, 80, None)
        threading.Thread(target=serve_dns, args=(ip,), daemon=True).start()
    serve_greeting(IP4, 2525)
    print("ready", flush=True)
    threading.Event().wait()


main()
