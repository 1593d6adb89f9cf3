#!/usr/bin/env python3
"""Bad input from every side: configuration files, agents, upstreams (issue "Bad input").

Each ends in a clear error or a closed flow, an audit line, no crash, and other flows untouched.

usage: test_bad_input.py --bin DIR [NAME...]
"""
import argparse
import contextlib
import json
import os
import random
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import traceback

from attack import EVIL, EVIL_PLAIN, Answer, AttackLab, Cut, Keep, ask, raw, sockets_in, tls
from lab import A6, DUMMY, GA4, I4, I6, REAL, Results, run, why_not

RANDOM = random.Random(20240229)    # the same bytes in every run


def noise(n):
    return bytes(RANDOM.randrange(256) for _ in range(n))


class Bystander:
    """A flow that has nothing to do with it: open all the time, asks after every blow."""

    def __init__(self, lab):
        self.lab, self.keep = lab, Keep(lab, port=EVIL)
        self.workers = lab.pids("worker")
        self.keep.get("/bystander")
        self.sock = self.keep.sock

    def untouched(self):
        try:
            good = self.keep.get("/bystander").status == 200 and self.keep.sock is self.sock
        except (OSError, Cut):
            good = False
        return good and self.lab.pids("worker") == self.workers


# --- configuration files ---------------------------------------------------------------------------------------------

def mistakes(text):
    """(name, config text, what the message must hold besides file and line)."""
    def sub(old, new, count=1):
        assert old in text, old
        return text.replace(old, new, count)
    yield "unknown key at the top", text + "bogus: 1\n", "bogus"
    yield "misspelt key, the nearest is named", sub("  workers:", "  wrokers:"), "workers"
    yield "unknown key deep inside", sub("    surfaces: [header, query", "    surface: [header, query"), "surfaces"
    yield "key twice", sub("version: 1\n", "version: 1\nversion: 1\n"), "version"
    yield "wrong version", sub("version: 1\n", "version: 2\n"), "version"
    yield "no agents", re.sub(r"agents:\n(  .*\n)+", "", text), "agents"
    yield "no egress", text[:text.index("egress:")], "egress"
    yield "string for a number", sub("workers: 1", "workers: many"), "many"
    yield "negative number", sub("workers: 1", "workers: -1"), "-1"
    yield "number far too large", sub("workers: 1", "workers: 99999999999999999999"), "99999"
    yield "list for a mapping", sub("  limits: {", "  limits: [{").replace("64KiB }", "64KiB }]", 1), "limits"
    yield "scalar for a mapping", sub("identity: { mtls: off }", "identity: nothing"), "identity"
    yield "scalar for a list of rules", re.sub(r"  rules:\n(    .*\n)+", "  rules: all\n", text), "rules"
    yield "port 0", sub("ports: [2525]", "ports: [0]"), "0"
    yield "port 65536", sub("ports: [2525]", "ports: [65536]"), "65536"
    yield "bad duration", sub("idle: 60s", "idle: 60 parsecs"), "parsecs"
    yield "bad size", sub("header_bytes: 64KiB", "header_bytes: 64Bananas"), "Bananas"
    yield "bad address", sub("198.18.1.2/32", "198.18.1.777/32"), "198.18.1.777"
    yield "prefix too long", sub("198.18.1.2/32", "198.18.1.2/33"), "/33"
    yield "bits behind the prefix", sub("198.18.2.2/32", "198.18.2.2/24"), "198.18.2.2/24"
    yield "two agents, one name", sub("name: second", "name: coder"), "coder"
    yield "two agents, one address", sub("sources: [198.18.1.3/32]", "sources: [198.18.1.2/32]"), "198.18.1.2"
    yield "two secrets, one name", sub("name: git", "name: api"), "api"
    yield "two secrets, one dummy", sub("dummy: dummy-of-long-00000000", "dummy: dummy-of-short-00000000"), "dummy"
    yield "dummy too short", sub("dummy: dummy-of-long-00000000", "dummy: abc"), "dummy"
    yield "secret without hosts", sub("    hosts: [git.test]\n", ""), "hosts"
    yield "secret for every host", sub("hosts: [git.test]", 'hosts: ["*"]'), "*"
    yield "unknown surface", sub("surfaces: [header, query", "surfaces: [footer, query"), "footer"
    yield "secret with two sources", sub("real-git }", "real-git, env: HOME }"), "real"
    yield "real value in the file itself", sub("real: { file: %s }" % re.search(r"file: (\S+real-git)", text).group(1), "real: sk-in-the-file"), "real"
    yield "agent nobody knows", sub("agents: [coder]", "agents: [nobody]"), "nobody"
    yield "rule that does nothing", sub("    - passthrough: { hosts: [pinned.test] }", "    - { }"), ""
    yield "rule that does two things", sub("    - passthrough: { hosts: [pinned.test] }", "    - { allow: { hosts: [a.test] }, deny: { hosts: [b.test] } }"), ""
    yield "unknown action", sub("    - passthrough:", "    - perhaps:"), "perhaps"
    yield "host with a slash", sub("hosts: [pinned.test]", "hosts: [https://pinned.test/]"), "https://pinned.test/"
    yield "wildcard in the middle", sub("hosts: [pinned.test]", 'hosts: ["a.*.test"]'), "a.*.test"
    yield "path without a slash", sub('"/private/**"', '"private/**"'), "private/**"
    yield "default that is neither", sub("default: deny", "default: maybe"), "maybe"
    yield "mtls that is neither", sub("mtls: off", "mtls: sometimes"), "sometimes"
    yield "relative nonsense", "version: 1\n" + "[" * 5000, ""
    yield "deep nesting", "a: " * 1 + "{a: " * 3000 + "1" + "}" * 3000 + "\n", ""
    yield "aliases that multiply", "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n" + text, ""
    yield "tabs", sub("  workers", "\tworkers"), ""
    yield "control characters", sub("coder", "co\x01der"), ""
    yield "not UTF-8", sub("coder", "co\udcffder"), ""
    yield "an empty file", "", ""
    yield "only a comment", "# nothing\n", ""
    yield "a list at the top", "- 1\n- 2\n", ""
    yield "a scalar at the top", "hello\n", ""
    yield "two documents", text + "---\n" + text, ""
    yield "an unfinished quote", text + 'x: "abc\n', ""
    yield "NUL inside", text + "x: \0\n", ""
    yield "noise", noise(4000).decode("latin-1"), ""
    yield "a very long line", text + "x: " + "y" * 2000000 + "\n", ""


def check_config(lab, path, env=None):
    p = subprocess.run([os.path.join(lab.bin, "slapenir-gateway"), "--config", path, "--check"], capture_output=True,
                       timeout=60, env=env)
    return p.returncode, (p.stdout + p.stderr).decode("utf-8", "replace")


def test_config(lab, r):
    with open(lab.path("slapenir.yaml")) as f:
        good = f.read()
    code, out = check_config(lab, lab.path("slapenir.yaml"))
    r.check("config: the lab's own is fine (control)", code == 0, out)
    for name, text, want in mistakes(good):
        path = lab.path("wrong.yaml")
        with open(path, "wb") as f:
            f.write(text.encode("utf-8", "surrogateescape"))
        code, out = check_config(lab, path)
        placed = re.search(r"wrong\.yaml(:\d+:\d+)?: ", out)
        r.check("config: " + name, code == 2 and want in out and placed and REAL not in out and "Sanitizer" not in out
                and len(out) < 5000, (code, out[:600]))
    for name, path in (("a folder", lab.dir), ("a file that is not there", lab.path("none.yaml")), ("no regular file", "/dev/null")):
        code, out = check_config(lab, path)
        r.check("config: " + name, code == 2 and out, (code, out))
    # The file a secret comes from.
    real = lab.path("real-git")
    keep = open(real, "rb").read()
    os.chmod(real, 0o600)
    for name, value in (("empty", b""), ("one newline", b"\n"), ("too short", b"abc\n"), ("two lines", b"ghp_CANARYaaaa\nghp_CANARYbbbb\n"),
                        ("control characters", b"ghp_CANARY\x00aaaa"), ("a megabyte", b"A" * (1 << 20)), ("its own dummy", DUMMY.encode())):
        with open(real, "wb") as f:
            f.write(value)
        code, out = check_config(lab, lab.path("slapenir.yaml"))
        r.check("config: a secret's file is %s" % name, code == 2 and ("git" in out or "dummy" in out) and "CANARY" not in out, (code, out[:400]))
    with open(real, "wb") as f:
        f.write(keep)
    # The running gateway was told nothing of all this; told now, it keeps what it has.
    by, refused = Bystander(lab), len(lab.audit("config.reload_failed"))
    with open(lab.path("slapenir.yaml"), "w") as f:
        f.write(good.replace("default: deny", "default: maybe"))
    lab.gateway.send_signal(signal.SIGHUP)
    lab.wait(lambda: len(lab.audit("config.reload_failed")) > refused, "the refused reload")
    r.check("config: a wrong file changes nothing in a running gateway", by.untouched())
    with open(lab.path("slapenir.yaml"), "w") as f:
        f.write(good)


# --- agents ------------------------------------------------------------------------------------------------------------------

def hello():
    """A real ClientHello for api.test."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(into, out, server_hostname="api.test").do_handshake()
    return out.read()


def garbage():
    """(name, port, bytes)"""
    h = hello()
    for port in (443, 80, EVIL, 53, 2525, 9999, 1):
        yield "noise on port %d" % port, port, noise(2000)
    yield "zeros", 443, b"\0" * 70000
    yield "one byte", 443, b"\x16"
    yield "nothing but an end", 443, b""
    yield "half a ClientHello", 443, h[:len(h) // 2]
    yield "a ClientHello of length 0", 443, b"\x16\x03\x01\x00\x00" * 50
    yield "a ClientHello of one byte a record", 443, b"".join(b"\x16\x03\x01\x00\x01" + h[i:i + 1] for i in range(5, len(h) - 1))
    yield "a record longer than allowed", 443, b"\x16\x03\x01\xff\xff" + b"\x01" * 70000
    yield "a handshake message of 16 MB", 443, b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"\0" * 80000
    for i in range(12):
        at = 9 + i * (len(h) - 20) // 12
        yield "a ClientHello with byte %d broken" % at, 443, h[:at] + bytes([h[at] ^ 0xff]) + h[at + 1:]
    yield "an alert first", 443, b"\x15\x03\x03\x00\x02\x02\x28"
    yield "application data first", 443, b"\x17\x03\x03\x00\x20" + noise(32)
    yield "a ServerHello", 443, b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03" + noise(35)
    yield "a ClientHello and then noise", 443, h + noise(5000)
    yield "two ClientHellos", 443, h + h
    yield "HTTP/2 preface in the clear", 80, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise(100)
    yield "SSH", 80, b"SSH-2.0-OpenSSH_9.2\r\n"
    yield "SMTP", 80, b"EHLO me\r\nMAIL FROM:<a@b>\r\n"
    yield "a DNS message of length 0", 53, b"\0\0" * 20
    yield "a DNS message of 64 kB noise", 53, b"\xff\xff" + noise(65535)
    yield "a DNS name that points at itself", 53, b"\0\x12" + b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01"


def swallow(lab, port, data, address=I4, source=None):
    """Sends bytes, ends its own side, reads to the end: what came, and whether it did end."""
    got = b""
    with raw(lab, address, port, source) as s:
        s.settimeout(20)
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while True:
                piece = s.recv(65536)
                if not piece:
                    return got, True
                got += piece
        except TimeoutError:
            return got, False
        except OSError:
            return got, True


def test_garbage(lab, r):
    by = Bystander(lab)
    for name, port, data in garbage():
        mark = len(lab.jsonl("audit.jsonl"))
        got, ended = swallow(lab, port, data)
        good = ended and by.untouched() and b"HTTP/1.1 2" not in got and (port != 2525 or b"CANARY" not in got)
        lines = lambda: [e for e in lab.jsonl("audit.jsonl")[mark:] if "/bystander" not in (e["path"] or "")]
        # A DNS question is audited when it is refused; an end before anything was said is none.
        if port != 53:
            with contextlib.suppress(TimeoutError):
                lab.wait(lines, "an audit line", 5)
            good = good and lines()
        r.check("garbage: " + name, good, (ended, got[:200], lines()[:1]))
    got, ended = swallow(lab, 443, hello()[:40], address=I6)
    r.check("garbage: over IPv6", ended and by.untouched(), got)


def under_tls():
    """(name, function(raw socket, ssl object, send)) after a finished handshake."""
    yield "a record of noise", lambda s: s.sendall(b"\x17\x03\x03\x00\x40" + noise(64))
    yield "a record of unknown type", lambda s: s.sendall(b"\x99\x03\x03\x00\x10" + noise(16))
    yield "a record too long", lambda s: s.sendall(b"\x17\x03\x03\xff\xff" + noise(65535))
    yield "a record cut short", lambda s: s.sendall(b"\x17\x03\x03\x01\x00" + noise(10))
    yield "plain HTTP", lambda s: s.sendall(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
    yield "a second ClientHello", lambda s: s.sendall(hello())
    yield "a thousand empty records", lambda s: s.sendall(b"\x17\x03\x03\x00\x00" * 1000)
    yield "a thousand change_cipher_specs", lambda s: s.sendall(b"\x14\x03\x03\x00\x01\x01" * 1000)
    yield "an alert in the clear", lambda s: s.sendall(b"\x15\x03\x03\x00\x02\x02\x50")
    yield "nothing", lambda s: None


def test_under_tls(lab, r):
    by = Bystander(lab)
    for version in (None, ssl.TLSVersion.TLSv1_2):
        for name, act in under_tls():
            s = raw(lab, I4, 443)
            into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
            context = ssl.create_default_context(cafile=lab.path("mitm.crt"))
            if version:
                context.maximum_version = version
            c = context.wrap_bio(into, out, server_hostname="api.test")
            while True:
                try:
                    c.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    s.sendall(out.read())
                    into.write(s.recv(65536))
            s.sendall(out.read())
            ended = False
            with contextlib.suppress(OSError):
                act(s)
                s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(65536):
                    pass
                ended = True
            except TimeoutError:
                pass
            except OSError:
                ended = True
            s.close()
            r.check("under TLS %s: %s" % ("1.2" if version else "1.3", name), ended and by.untouched())
    # Renegotiation: asked for over TLS 1.2, refused or ended; never a second handshake.
    p = lab.agent("openssl", "s_client", "-connect", "api.test:443", "-servername", "api.test", "-CAfile", lab.path("mitm.crt"),
                  "-tls1_2", "-legacy_renegotiation", input="R\n", timeout=30)
    text = p.stdout + p.stderr
    r.check("under TLS 1.2: renegotiation is refused", "RENEGOTIATING" in text and p.returncode != 0 and by.untouched(), text[-600:])


REQUESTS = [
    ("NUL in the head", b"GET / HTTP/1.1\r\nHost: api.test\r\nX: a\0b\r\n\r\n"),
    ("an empty field name", b"GET / HTTP/1.1\r\nHost: api.test\r\n: x\r\n\r\n"),
    ("a space before the colon", b"GET / HTTP/1.1\r\nHost: api.test\r\nX : y\r\n\r\n"),
    ("a folded field", b"GET / HTTP/1.1\r\nHost: api.test\r\nX: y\r\n z\r\n\r\n"),
    ("a lone CR", b"GET / HTTP/1.1\r\nHost: api.test\r\nX: y\rZ: 1\r\n\r\n"),
    ("bytes over 127 in a name", b"GET / HTTP/1.1\r\nHost: api.test\r\nX\xff: y\r\n\r\n"),
    ("no version", b"GET /\r\nHost: api.test\r\n\r\n"),
    ("HTTP/3.0", b"GET / HTTP/3.0\r\nHost: api.test\r\n\r\n"),
    ("HTTP/1.1 in small letters", b"GET / http/1.1\r\nHost: api.test\r\n\r\n"),
    ("two spaces", b"GET  / HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("a target with a space", b"GET /a b HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("a target with a fragment", b"GET /a#b HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("a method of 5,000 bytes", b"G" * 5000 + b" / HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n"),
    ("Content-Length that is no number", b"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: ten\r\n\r\n"),
    ("Content-Length past 64 bits", b"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    ("Content-Length twice", b"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("chunked, but not last", b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("a chunk size with a sign", b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"),
    ("a chunk size past 64 bits", b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
    ("a chunk extension without end", b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 100000),
    ("trailers without end", b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 20000),
    ("2,000 fields", b"GET / HTTP/1.1\r\nHost: api.test\r\n" + b"A: b\r\n" * 2000 + b"\r\n"),
    ("CONNECT", b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n"),
]


def test_requests(lab, r):
    by = Bystander(lab)
    for name, request in REQUESTS:
        mark, seen = len(lab.audit('"status": 4')) + len(lab.audit('"status": 5')), len(lab.evil.seen)
        got = ask(lab, request, port=EVIL)
        lab.wait(by.untouched, "the bystander")
        asked = [x for x in lab.evil.seen[seen:] if b"/bystander" not in x[2]]
        lines = lambda: len(lab.audit('"status": 4')) + len(lab.audit('"status": 5')) > mark
        with contextlib.suppress(TimeoutError):
            lab.wait(lines, "an audit line", 5)
        good = re.match(rb"HTTP/1\.1 (4\d\d|50[15]) ", got) and got.count(b"HTTP/1.1 ") == 1 and b'"reason":"' in got
        r.check("request: " + name, good and lines() and not asked, (got[:300], asked[:1]))
    # One byte a second would take too long here: what counts is that its bytes do not move the deadline (test_gateway).
    s = tls(lab, "api.test", EVIL)
    s.sendall(b"POST /half HTTP/1.1\r\nHost: api.test\r\nContent-Length: 10\r\n\r\nabc")
    s.close()
    lab.wait(lambda: [e for e in lab.audit("/half") if e["reason"]], "the audit line of a request that broke off")
    r.check("request: one that breaks off is audited, and never completed upstream", by.untouched()
            and not [x for x in lab.evil.seen if b"/half" in x[2]])


# --- upstreams -----------------------------------------------------------------------------------------------------------------

def then_close(*pieces):
    def run_it(conn):
        with contextlib.suppress(OSError):
            for p in pieces:
                conn.sendall(p)
    return run_it


def endless(first, more):
    def run_it(conn):
        with contextlib.suppress(OSError):
            conn.sendall(first)
            for _ in range(100000):
                conn.sendall(more)
    return run_it


def reset(first):
    def run_it(conn):
        with contextlib.suppress(OSError):
            conn.sendall(first)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            fd = conn.detach()
            os.close(fd)
    return run_it


OK = b"HTTP/1.1 200 OK\r\n"
# (name, how the upstream behaves, reason of the denial, or None where the answer has begun and must be cut)
UPSTREAMS = [
    ("nothing at all", then_close(), "upstream_closed"),
    ("noise", then_close(noise(3000)), "upstream_http"),
    ("half a head", then_close(OK + b"X: y\r\n"), "upstream_closed"),
    ("a header of 1 MB", then_close(OK + b"X: " + b"y" * (1 << 20) + b"\r\n\r\n"), "upstream_header_too_large"),
    ("fields without end", endless(OK, b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"), "upstream_header_too_large"),
    ("a status line without end", endless(b"HTTP/1.1 200 ", b"O" * 4096), "upstream_header_too_large"),
    ("1xx without end", endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 50), "upstream_http"),
    ("101 nobody asked for", then_close(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"), "upstream_http"),
    ("status 99", then_close(b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n"), "upstream_http"),
    ("status 1000", then_close(b"HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n"), "upstream_http"),
    ("HTTP/2 in the clear", then_close(b"\0\0\x12\x04\0\0\0\0\0" + noise(18)), "upstream_http"),
    ("two lengths", then_close(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "upstream_http"),
    ("length and chunks", then_close(OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "upstream_http"),
    ("a coding in transfer", then_close(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "upstream_http"),
    ("a length past 64 bits", then_close(OK + b"Content-Length: 99999999999999999999\r\n\r\n"), "upstream_http"),
    ("gzip", then_close(OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"), "upstream_coding"),
    ("a short small body", then_close(OK + b"Content-Length: 100\r\n\r\nabc"), "upstream_closed"),
    ("a short large body", then_close(OK + b"Content-Length: 100000000\r\n\r\n" + b"abc" * 50000), None),
    ("a chunk that is none", then_close(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n"), None),
    ("chunks without their end", then_close(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), None),
    ("a chunk size line without end", endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 4096), None),
    ("trailers without end", endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 500), None),
    ("a reset before an answer", reset(b""), "upstream_closed"),
    ("a reset in the body", reset(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), None),
    ("a body till the end, cut without close_notify", reset(OK + b"Connection: close\r\n\r\nhello"), None),
]


def whole(got):
    """Could the agent take this answer for a complete one?"""
    head, _, body = got.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n") or body == b"0\r\n\r\n"
    length = re.search(rb"content-length: *(\d+)", head, re.I)
    return bool(length) and len(body) >= int(length.group(1))


def test_upstreams(lab, r):
    by = Bystander(lab)
    for name, behave, reason in UPSTREAMS:
        lab.evil.scripts["bad"] = behave
        mark = len(lab.audit("/run/bad"))
        got = ask(lab, "GET /run/bad HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\nX: %s\r\n\r\n" % DUMMY, port=EVIL)
        if reason:
            good = got.startswith(b"HTTP/1.1 502 ") and b'"reason":"%s"' % reason.encode() in got
        else:
            good = not whole(got) and (not got or got.startswith(b"HTTP/1.1 200 ") or got.startswith(b"HTTP/1.1 502 "))
        with contextlib.suppress(TimeoutError):
            lab.wait(lambda: len(lab.audit("/run/bad")) > mark, "an audit line", 5)
        lines = lab.audit("/run/bad")[mark:]
        audited = len(lines) == 1 and lines[0]["reason"] and lines[0]["decision"] == "error"
        r.check("upstream: " + name, good and audited and by.untouched(), (got[:300], lines[:1]))
    # Bytes behind a complete answer must not become the next one's.
    for tail in (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL", b"EVIL" * 1000):
        lab.evil.scripts["bad"] = then_close(OK + b"Content-Length: 4\r\n\r\ngood" + tail)
        k = Keep(lab, port=EVIL)
        answers = [k.get("/run/bad").body for _ in range(4)] + [k.get("/").body]
        k.close()
        r.check("upstream: bytes behind its answer are nobody's", answers == [b"good"] * 4 + [b"ok\n"], answers)


def test_tls_upstreams(lab, r):
    by = Bystander(lab)
    server = hello()
    rows = [("noise", noise(3000)), ("nothing", b""), ("plain HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n"), ("its own ClientHello", server),
            ("an alert", b"\x15\x03\x03\x00\x02\x02\x28"), ("a record too long", b"\x16\x03\x03\xff\xff" + noise(65535)),
            ("a handshake of 16 MB", b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + b"\0" * 200000)]
    with sockets_in(lab.i):
        s = socket.create_server((I4, 444))
    s.settimeout(20)
    for name, data in rows:
        c = tls(lab, "refused.test", 444)
        c.sendall(b"GET /tls HTTP/1.1\r\nHost: refused.test:444\r\nConnection: close\r\n\r\n")
        # The way is begun ahead of the request, so there may be a second try.
        c.settimeout(0.2)
        got, tries = b"", 0
        while not got and tries < 4:
            with contextlib.suppress(TimeoutError):
                s.settimeout(1)
                conn, _ = s.accept()
                tries += 1
                with conn, contextlib.suppress(OSError):
                    conn.settimeout(5)
                    conn.recv(4096)
                    conn.sendall(data)
                    conn.shutdown(socket.SHUT_WR)
                    while conn.recv(65536):
                        pass
            with contextlib.suppress(TimeoutError):
                got = c.recv(65536)
        c.close()
        r.check("upstream TLS: " + name, got.startswith(b"HTTP/1.1 502 ") and by.untouched(), (tries, got[:300]))
    s.close()


def test_end(lab, r):
    log = open(lab.path("gateway.log"), errors="replace").read()
    r.check("no crash, no sanitizer report", "Sanitizer" not in log and "runtime error" not in log and "flow.bad_move" not in log
            and not lab.audit("worker.died"), log[-3000:])
    text = open(lab.path("audit.jsonl")).read()
    r.check("no canary in log or audit", "CANARY" not in text + log)


TESTS = [test_config, test_garbage, test_under_tls, test_requests, test_upstreams, test_tls_upstreams, test_end]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bin", required=True)
    ap.add_argument("names", nargs="*")
    args = ap.parse_args()
    reason = why_not()
    if reason:
        print("skip - bad input: " + reason)
        print("0 passed, 0 failed, 1 skipped")
        return 77
    r = Results()
    lab = AttackLab(args.bin, first_byte="8s")
    try:
        lab.up()
        for test in TESTS:
            if args.names and not any(n in test.__name__ for n in args.names):
                continue
            began = time.time()
            try:
                test(lab, r)
            except Exception:  # a broken expectation is a failure, not the end of the run
                r.check(test.__name__, False, traceback.format_exc())
            print("# %s took %.1f s" % (test.__name__, time.time() - began), flush=True)
        lab.stop_gateway()
    finally:
        lab.close()
    return r.finish()


if __name__ == "__main__":
    sys.exit(main())
