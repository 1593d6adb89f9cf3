#!/usr/bin/env python3
"""The promises, attacked: each check here fails when one of them breaks (REQ-2.3-2.5, 4, 6.2, 7.2).

    1 leaks       no real token reaches the agent, wherever an upstream puts it and however it is cut
    2 hosts       a real token reaches only the hosts it is bound to
    3 way out     nothing leaves but what the gateway itself sends: a capture on the outer interface
    4 deaths      no component's death opens a path
    5 floods      limits hold, and memory comes back
    6 traces      real tokens stay in the secret area

usage: test_promises.py --bin DIR [NAME...]
"""
import argparse
import base64
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import traceback

from attack import (B4, BAD_HOSTS, DUMMIES, EVIL, EVIL12, EVIL_PLAIN, UNDER, Answer, AttackLab, Capture, Cut, Keep, ask,
                    raw, sockets_in, tls)
from lab import A4, A6, AGENT_UID, DUMMY, GA4, GA6, GI4, GI6, I4, I6, Results, run, why_not

MODEL = re.compile(b"|".join(re.escape(v.encode()) for v in sorted(UNDER.values(), key=len, reverse=True)))
API, LONG = UNDER["api"].encode(), UNDER["longest"].encode()


def redacted(text):
    """What the agent should see: leftmost, then longest."""
    return MODEL.sub(b"[REDACTED]", text)


# --- 1: leaks ------------------------------------------------------------------------------------------------------

# Prefixes of each other, neighbours, overlapping parts, near misses, the token at either end.
TEXTS = {
    "one": b"before " + API + b" after",
    "ends": API + b" between " + API,
    "adjacent": b"<" + API + API + UNDER["git"].encode() + b">",
    "prefixes": b"sk-CANARY sk-CANARY1 sk-CANARY1-and-longer-CANARY- " + UNDER["long"].encode() + b"x " + LONG + b"y",
    "overlap": b"CANARYCANAR CANARYCANARYCANARYX CANARYCANARYX",
    "near": b"sk-live-CANARsk-live-" + API[:-1] + API + b" " + API[1:],
}


def leaked(data):
    return bool(MODEL.search(data))


def chunked(body, trailers=b"", size=7):
    pieces = [body[i:i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n" + trailers + b"\r\n"


def answers(place, text):
    """(framing, bytes of a response, expected body) for one place where the upstream puts its text."""
    status = b"HTTP/1.1 200 OK" + (b" " + text if place == "status line" else b"") + b"\r\n"
    head = {"header value": b"X-Seen: " + text + b"\r\n", "header name": b"X-" + max(MODEL.findall(text), key=len) + b": 1\r\n",
            "two fields": b"Set-Cookie: a=" + text + b"\r\nSet-Cookie: b=" + text + b"\r\n"}.get(place, b"")
    if place == "redirect":
        status, head = b"HTTP/1.1 302 Found\r\n", b"Location: https://other.test/?k=" + text.replace(b" ", b"+") + b"\r\n"
    if place == "interim response":
        status = b"HTTP/1.1 103 Early Hints\r\nLink: <" + text.replace(b" ", b"") + b">\r\n\r\n" + status
    body = text if place == "body" else b"the body"
    if place not in ("trailer value", "trailer name"):
        yield "length", status + head + b"Content-Length: %d\r\n\r\n" % len(body) + body, body
    trailers = {"trailer value": b"X-End: " + text + b"\r\n",
                "trailer name": b"X-" + max(MODEL.findall(text), key=len) + b": 1\r\n"}.get(place, b"")
    yield "chunked", status + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, trailers), body
    if place not in ("trailer value", "trailer name"):
        yield "close", status + head + b"Connection: close\r\n\r\n" + body, body


PLACES = ["status line", "header value", "header name", "two fields", "redirect", "interim response", "body",
          "trailer value", "trailer name"]


def verdict(answer, body, marked=False):
    """None when the agent saw what it should, else what was wrong."""
    if leaked(answer.raw) or leaked(answer.body) or leaked(answer.trailers):
        return "LEAK: %r" % answer.raw[:400]
    if answer.body != redacted(body):
        return "other body: %r" % answer.body[:200]
    if marked and b"[REDACTED]" not in answer.raw:
        return "nothing was redacted: %r" % answer.raw[:300]
    return None


def corpus(lab, client, splits):
    """Every place x framing x text; returns rows (place, framing, answers read, first fault)."""
    rows = {}
    for place in PLACES:
        for name, text in TEXTS.items():
            for framing, script, body in answers(place, text):
                lab.evil.scripts["now"] = script
                row = rows.setdefault((place, framing), [0, None])
                for n in splits(name, script, framing):
                    try:
                        target = "/ones/now" if n == "ones" else "/split/now/%d" % n
                        wrong = verdict(client.get(target, client.version), body,
                                        place not in ("interim response", "trailer value", "trailer name") or
                                        (client.version == "1.1" and place != "interim response"))
                    except (OSError, Cut, ValueError) as e:
                        wrong = "%s: %s" % (type(e).__name__, e)
                        client.close()
                    row[0] += 1
                    if wrong and not row[1]:
                        row[1] = "%s, split at %s: %s" % (name, n, wrong)
    return rows


def client(lab, version="1.1", **how):
    c = Keep(lab, **how)
    c.version = version
    return c


def every_split(quick):
    def splits(name, script, framing):
        if name == "one" and not (quick and framing == "close"):
            return list(range(len(script))) + ["ones"]
        return list(range(0, len(script), 5 if not quick else 29)) + ["ones"]
    return splits


def around(name, script, framing):
    """Splits inside the first token only: enough for the other protocol versions."""
    found = MODEL.search(script)
    at = found.start() if found else script.index(b"\r\n\r\n") + 4  # cut by chunks
    step = 9 if framing == "close" else 3
    return list(range(at + 1, at + len(API), step)) if name in ("one", "prefixes") else [at + 5]


def test_leaks(lab, r):
    quick = lab.sanitized()
    table = [("agent 1.1 TLS 1.3, upstream TLS 1.3", client(lab, port=EVIL), every_split(quick)),
             ("agent 1.1 TLS 1.2, upstream TLS 1.2", client(lab, port=EVIL12, maximum=ssl.TLSVersion.TLSv1_2), around),
             ("agent 1.0 TLS 1.3, upstream TLS 1.2", client(lab, "1.0", port=EVIL12), around),
             ("agent 1.1, no TLS at all", client(lab, port=EVIL_PLAIN), around)]
    for name, c, splits in table:
        rows = corpus(lab, c, splits)
        c.close()
        for (place, framing), (n, wrong) in rows.items():
            print("# %-38s %-17s %-8s %5d answers %s" % (name, place, framing, n, "LEAK/FAULT" if wrong else "clean"))
        wrong = ["%s / %s: %s" % (k[0], k[1], v[1]) for k, v in rows.items() if v[1]]
        r.check("leaks: %s: %d answers, none with a token" % (name, sum(v[0] for v in rows.values())), not wrong,
                "\n".join(wrong[:6]))


def test_leaks_at_boundaries(lab, r):
    """Tokens across record (16 KiB), measuring (64 KiB) and read (128, 256 KiB) boundaries, in every framing."""
    c, wrong, n = client(lab, port=EVIL), [], 0
    for edge in (16384, 65536, 131072, 262144):
        for shift in (1, 5, len(API) - 1) if edge != 65536 else range(0, len(API) + 1, 3):
            start = edge - shift
            body = b"." * start + API + LONG + b"-" * 100 + API
            for framing, head, rest in (("length", b"Content-Length: %d\r\n" % len(body), body),
                                        ("chunked", b"Transfer-Encoding: chunked\r\n", chunked(body, size=edge)),
                                        ("close", b"Connection: close\r\n", body)):
                top = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n"
                script = top + rest
                lab.evil.scripts["now"] = script
                for split in (0, len(top) + edge, len(top) + start + 1):
                    n += 1
                    try:
                        bad = verdict(c.get("/split/now/%d" % split), body)
                    except (OSError, Cut) as e:
                        bad = repr(e)
                        c.close()
                    if bad:
                        wrong.append("%d-%d %s: %s" % (edge, shift, framing, bad[:200]))
    # A body of exactly the measured size, which redaction makes longer or shorter.
    for size in (65535, 65536, 65537):
        body = (UNDER["short"].encode() * (size // 10 + 1))[:size]
        lab.evil.scripts["now"] = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body
        bad = verdict(c.get("/split/now/0"), body)
        n += 1
        if bad:
            wrong.append("%d: %s" % (size, bad[:200]))
    c.close()
    r.check("leaks: %d answers with tokens across record and buffer boundaries" % n, not wrong, "\n".join(wrong[:6]))


def test_leaks_elsewhere(lab, r):
    """Answers that are refused or broken: the denial must not tell either."""
    tok = API.decode()
    cases = {
        "unknown coding": "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: 2\r\n\r\nxx" % tok,
        "gzip with a token": "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nX: %s\r\nContent-Length: 2\r\n\r\nxx" % tok,
        "no status line": "%s\r\n\r\n" % tok,
        "status of letters": "HTTP/1.1 %s OK\r\n\r\n" % tok,
        "bad length": "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n" % tok,
        "folded field": "HTTP/1.1 200 OK\r\nX: sk-live-\r\n %s\r\nContent-Length: 0\r\n\r\n" % tok,
        "chunk extension": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=%s\r\nabc\r\n0\r\n\r\n" % tok,
        "chunk size": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\nabc\r\n0\r\n\r\n" % tok,
        "connection option": "HTTP/1.1 200 OK\r\nConnection: close, %s\r\n%s: x\r\n\r\nok" % (tok, tok),
        "upgrade": "HTTP/1.1 101 Switching\r\nUpgrade: %s\r\nConnection: upgrade\r\n\r\n%s" % (tok, tok),
        "short body": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n%s" % tok,
        "short chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(tok), tok),
        "bytes behind the answer": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok%s" % tok,
        "a second answer": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX: %s\r\nContent-Length: 0\r\n\r\n" % tok,
        "204 with a body": "HTTP/1.1 204 No\r\nX: %s\r\n\r\n%s" % (tok, tok),
        "304 with a token": "HTTP/1.1 304 No\r\nETag: \"%s\"\r\n\r\n" % tok,
        "HTTP/0.9": "<html>%s</html>" % tok,
        "HTTP/1.0": "HTTP/1.0 200 %s\r\nX: %s\r\n\r\n%s" % (tok, tok, tok),
        "field without colon": "HTTP/1.1 200 OK\r\n%s\r\n\r\n" % tok,
        "huge header": "HTTP/1.1 200 OK\r\n" + "X: %s\r\n" % tok * 3000 + "\r\n",
    }
    wrong, seen = [], 0
    for name, script in cases.items():
        lab.evil.scripts["now"] = script.encode()
        for target in ("/once/now/0", "/once/now/25", "/once/now/60"):
            got = ask(lab, "GET %s HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n" % target, port=EVIL)
            seen += bool(got)
            if leaked(got):
                wrong.append("%s %s: %r" % (name, target, got[:300]))
        head = ask(lab, "HEAD /once/now/0 HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n", port=EVIL)
        if leaked(head):
            wrong.append("HEAD %s: %r" % (name, head[:300]))
    r.check("leaks: %d kinds of broken answer tell nothing" % len(cases), not wrong and seen > len(cases), "\n".join(wrong))
    # An agent that was handed a real token by other means and tries to have it confirmed.
    got = ask(lab, "GET /x/%s HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n" % tok)
    r.check("leaks: a denial masks the path", b" 403 " in got and not leaked(got), got)
    got = ask(lab, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % tok)
    r.check("leaks: a denial masks the host", got and not leaked(got), got)
    got = ask(lab, "%s / HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n" % tok.replace("-", ""))
    r.check("leaks: and the method", got and not leaked(got), got)


# --- 2: hosts ------------------------------------------------------------------------------------------------------

ALL_DUMMIES = dict(DUMMIES, api=DUMMY)


def loaded(target="/", host="api.test", version="1.1", more="", method="GET", body=""):
    """A request that carries every dummy, as header, as Basic and in the query."""
    lines = ["%s %s HTTP/%s" % (method, target, version)]
    if host is not None:
        lines.append("Host: " + host)
    lines += ["X-%s: %s" % kv for kv in ALL_DUMMIES.items()]
    lines.append("Authorization: Basic " + base64.b64encode(("u:" + DUMMY).encode()).decode())
    if more:
        lines.append(more)
    return "\r\n".join(lines + ["Connection: close", "", body])


def attacks():
    """(name, request bytes, how to send it); none of them may bring a real token to another host than its own."""
    q = "/echo?k=" + DUMMY
    yield "another host", loaded(q, "other.test"), dict(name="other.test")
    yield "SNI of another host, Host of ours", loaded(q), dict(name="other.test")
    yield "SNI of ours, Host of another", loaded(q, "other.test"), dict()
    yield "absolute form for another host", loaded("https://other.test" + q), dict()
    yield "absolute form for ours, over another's TLS", loaded("https://api.test" + q, "other.test"), dict(name="other.test")
    yield "absolute form with user and password", loaded("https://api.test@other.test" + q, "other.test"), dict(name="other.test")
    yield "user and password in Host", loaded(q, "api.test@other.test"), dict(name="other.test")
    yield "CONNECT", loaded("other.test:443", "other.test:443", method="CONNECT"), dict()
    yield "authority form with GET", loaded("api.test:443", "other.test"), dict(name="other.test")
    yield "Host with another port", loaded(q, "api.test:8443"), dict()
    yield "Host of an IP address", loaded(q, I4), dict()
    yield "IP address in brackets", loaded(q, "[%s]" % I6), dict()
    yield "two Hosts", loaded(q, "other.test", more="Host: api.test"), dict(name="other.test")
    yield "two Hosts, ours first", loaded(q, "api.test", more="Host: other.test"), dict(name="other.test")
    yield "Host with a space", loaded(q, "api.test other.test"), dict(name="other.test")
    yield "Host list", loaded(q, "api.test, other.test"), dict(name="other.test")
    yield "empty Host", loaded(q, ""), dict(name="other.test")
    yield "no Host, HTTP/1.0", loaded(q, None, "1.0"), dict(name="other.test")
    yield "Host with a tab", loaded(q, "other.test\tapi.test"), dict(name="other.test")
    yield "Host with NUL", loaded(q, "api.test\0.other.test"), dict(name="other.test")
    yield "Host folded", loaded(q, "other.test\r\n api.test"), dict(name="other.test")
    yield "X-Forwarded-Host", loaded(q, "other.test", more="X-Forwarded-Host: api.test\r\nForwarded: host=api.test"), dict(name="other.test")
    yield "a name that ends like ours", loaded(q, "xapi.test.wild.test"), dict(name="xapi.test.wild.test")
    yield "a name below ours", loaded(q, "api.test.wild.test"), dict(name="api.test.wild.test")
    yield "plain HTTP", loaded(q), dict(plain=True, port=80)
    yield "plain HTTP on a TLS port", loaded(q), dict(plain=True, port=443)
    yield "plain HTTP on another port", loaded(q), dict(plain=True, port=EVIL_PLAIN)
    yield "plain HTTP, https in the target", loaded("https://api.test" + q), dict(plain=True, port=80)
    for host in BAD_HOSTS:
        yield "certificate: " + host, loaded(q, host), dict(name=host, port=443 if host in BAD_HOSTS[:3] else EVIL)
    yield "no SNI", loaded(q), dict(sni=False)
    yield "no SNI, the address as Host", loaded(q, I4), dict(sni=False)
    smuggled = loaded(q, "other.test")
    for name, head in (
            ("CL and TE", "Content-Length: 4\r\nTransfer-Encoding: chunked"), ("TE twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
            ("TE with a trick", "Transfer-Encoding: xchunked"), ("TE with a tab", "Transfer-Encoding:\tchunked, identity"),
            ("CL twice", "Content-Length: 0\r\nContent-Length: %d" % len(smuggled)), ("CL with a sign", "Content-Length: +0"),
            ("CL list", "Content-Length: 0, 0"), ("CL hexadecimal", "Content-Length: 0x0"), ("name with a space", "Content-Length : 0")):
        yield "smuggling: " + name, loaded(q, "other.test", method="POST", more=head).replace("Connection: close\r\n", "") \
            + "0\r\n\r\n" + loaded(q, "api.test"), dict(name="other.test")
    yield "smuggling: chunk size too large", loaded(q, "other.test", method="POST", more="Transfer-Encoding: chunked") \
        + "ffffffffffffffff1\r\n" + loaded(q), dict(name="other.test")
    yield "smuggling: bare LF in chunks", loaded(q, "other.test", method="POST", more="Transfer-Encoding: chunked") + "0\n\n" + loaded(q), dict(name="other.test")
    yield "smuggling: chunk without its CRLF", loaded(q, "other.test", method="POST", more="Transfer-Encoding: chunked") \
        + "3\r\nabcX\r\n0\r\n\r\n" + loaded(q), dict(name="other.test")
    yield "dummy in a folded field", loaded(q, "other.test", more="X: a\r\n " + DUMMY), dict(name="other.test")
    yield "pipelined second Host", loaded(q, "other.test").replace("Connection: close\r\n", "") + loaded(q, "api.test"), dict(name="other.test")
    yield "pipelined, ours first", loaded("/first?x").replace("Connection: close\r\n", "") + loaded(q, "other.test"), dict()
    yield "dummy in trailers", loaded(q, "other.test", method="POST", more="Transfer-Encoding: chunked") + "0\r\nX: %s\r\n\r\n" % DUMMY, dict(name="other.test")
    yield "dummy as the method", loaded(q, "other.test", method=DUMMY), dict(name="other.test")
    yield "dummy as a field name", loaded(q, "other.test", more=DUMMY + ": x"), dict(name="other.test")
    yield "dummy as Host", loaded(q, DUMMY + ".wild.test"), dict(name=DUMMY + ".wild.test")
    yield "redirect followed", loaded("/status/302?location=https://other.test" + q.replace("?", "%3F")), dict()


BOUND = {"api": {"api.test", "v6.test"}, "git": {"git.test"}, "bad": set(BAD_HOSTS)}


def strays(lab):
    """Requests with a real token that reached somebody who should not have it."""
    found = []
    requests = [(e["sni"], e["port"], json.dumps(e)) for e in lab.received() if "method" in e]
    requests += [(sni, port, data.decode("latin-1")) for sni, port, data in lab.evil.canaries()]
    for sni, port, text in requests:
        hosts = re.findall(r'(?:\r\n|\[")host(?:: *|", ")([^\r"]*)', text, re.I)
        for name, value in UNDER.items():
            # Tokens that are part of others are bound alike.
            if value not in text and base64.b64encode(("u:" + value).encode()).decode() not in text:
                continue
            bound = BOUND.get(name, {"api.test"})
            named = {h.partition(":")[0].lower().rstrip(".") for h in hosts}
            if name == "bad" or sni not in bound or not named <= bound or len(hosts) != 1 or port in (80, EVIL_PLAIN):
                found.append((name, sni, port, text[:600]))
    return found


def test_hosts(lab, r):
    got = ask(lab, loaded("/control?k=" + DUMMY), port=EVIL)
    sent = lab.evil.canaries()
    r.check("hosts: the bound host does get it (control)", b" 200 " in got and len(sent) == 1 and not strays(lab), (got, sent[:1], strays(lab)))
    r.check("hosts: in every place", all(UNDER[n].encode() in sent[0][2] for n in ("api", "short", "long", "overlap", "mine")), sent[:1])
    for name, request, how in attacks():
        before = len(strays(lab))
        answer = ask(lab, request, **how)
        if "location: https://other.test" in answer.decode("latin-1").lower():
            ask(lab, loaded("/echo?landed=" + DUMMY, "other.test"), name="other.test")
        found = strays(lab)
        r.check("hosts: " + name, len(found) == before and not leaked(answer), (answer[:300], found[-1:]))
        if name.startswith("certificate"):
            r.check("hosts: %s is refused in words" % name, b" 502 " in answer and b"upstream_cert" in answer, answer[:400])
    stray = [e for e in lab.received() if e.get("sni") == "" and e["port"] == 443 and "CANARY" in json.dumps(e)]
    r.check("hosts: nothing to an upstream without a name", not stray, stray)


def test_hosts_reuse(lab, r):
    """Connections that stay open, on either side, carry no right from one host or agent to the next."""
    s = tls(lab, "api.test", EVIL)
    keep = loaded("/reuse").replace("Connection: close\r\n", "")
    s.sendall(keep.encode())
    first = Answer(s)
    s.sendall(loaded("/reuse2", "other.test").encode())
    second = Answer(s)
    s.close()
    r.check("hosts: a kept connection is for its own host only", first.status == 200 and second.status == 421 and not strays(lab),
            (first.raw, second.raw))
    conns = lab.evil.connections
    for _ in range(3):
        ask(lab, loaded("/warm"), port=EVIL)
    own = [d for _, _, d in lab.evil.canaries() if b" /warm " in d]
    r.check("hosts: the agent a secret is bound to gets it", len(own) == 3 and all(UNDER["mine"].encode() in d for d in own), own[:1])
    mark = len(lab.evil.seen)
    answer = ask(lab, loaded("/second"), port=EVIL, source=B4)
    mine = [d for _, _, d in lab.evil.seen[mark:] if b" /second " in d]
    r.check("hosts: another agent does not, warm connections or not", len(mine) == 1 and UNDER["mine"].encode() not in mine[0]
            and DUMMIES["mine"].encode() in mine[0] and API in mine[0], (answer, mine))
    r.check("hosts: nor does it get the other's connection", lab.evil.connections > conns)
    # The same name by a resolution of the agent's own: the gateway resolves itself.
    run("ip", "-n", lab.i, "addr", "add", "198.18.2.66/24", "dev", "sl-i")
    with sockets_in(lab.i):
        trap = socket.create_server(("198.18.2.66", 443))
    trap.settimeout(0.5)
    answer = ask(lab, loaded("/echo?rebound=1"), address="198.18.2.66")
    try:
        trap.accept()
        trapped = True
    except TimeoutError:
        trapped = False
    trap.close()
    r.check("hosts: an address of the agent's choice is not dialled", b" 200 " in answer and not trapped and lab.received("rebound=1"), answer[:200])
    r.check("hosts: no token strayed in all of this", not strays(lab), strays(lab)[:2])


# --- 3: the way out ------------------------------------------------------------------------------------------------

MARK = b"LEAKPROBE"
FOREIGN4, FOREIGN6 = "203.0.113.9", "2001:db8::9"


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ip4(to, proto, payload, source=A4, fragment=0, ttl=64, options=b""):
    head = struct.pack(">BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, 20 + len(options) + len(payload), 7, fragment, ttl,
                       proto, 0, socket.inet_aton(source), socket.inet_aton(to)) + options
    return 0x0800, head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ip6(to, proto, payload, source=A6, hops=64):
    return 0x86dd, struct.pack(">IHBB", 6 << 28, len(payload), proto, hops) + socket.inet_pton(socket.AF_INET6, source) \
        + socket.inet_pton(socket.AF_INET6, to) + payload


def transport(source, to, proto, port, payload=MARK, flags=2, sport=40000):
    """A TCP segment or UDP datagram with its checksum."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    if proto == 6:
        head = struct.pack(">HHIIBBHHH", sport, port, 1, 0, 0x50, flags, 1000, 0, 0)
        at = 16
    else:
        head, at = struct.pack(">HHHH", sport, port, 8 + len(payload), 0), 6
    data = head + (payload if proto == 17 else b"")
    pseudo = socket.inet_pton(family, source) + socket.inet_pton(family, to) + struct.pack(">IHBB", len(data), 0, 0, proto)
    return data[:at] + struct.pack(">H", checksum(pseudo + data)) + data[at + 2:]


def question(name, kind=1):
    return b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0" + b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) \
        + b"\0" + struct.pack(">HH", kind, 1)


def frames():
    """(name, list of (ethertype, packet)): what a root user of the agent puts on the wire. A table that grows."""
    targets4 = (I4, "198.18.2.77", FOREIGN4, "169.254.169.254", GI4, GA4, "127.0.0.1", "198.18.2.255", "224.0.0.251", "255.255.255.255")
    targets6 = (I6, "fd00:2::77", FOREIGN6, GI6, GA6, "::1", "fe80::1", "ff02::1", "ff02::fb", "ff05::2", "::ffff:198.18.2.2")
    yield "UDP, IPv4", [ip4(t, 17, transport(A4, t, 17, p)) for t in targets4 for p in (1, 53, 123, 443, 500, 4500, 9901, 15001, 15053)]
    yield "UDP, IPv6", [ip6(t, 17, transport(A6, t, 17, p)) for t in targets6 for p in (1, 53, 123, 443, 500, 4500, 9901, 15001, 15053)]
    echo = lambda kind: bytes([kind]) + b"\0" + struct.pack(">H", checksum(bytes([kind, 0, 0, 0, 0, 1, 0, 1]) + MARK)) + b"\0\1\0\1" + MARK
    yield "ICMP of every type", [ip4(t, 1, echo(k)) for t in targets4 for k in (0, 3, 4, 5, 8, 9, 10, 11, 12, 13, 15, 17, 30, 42)]
    yield "ICMPv6 of every type", [ip6(t, 58, echo(k)) for t in targets6 for k in (1, 2, 3, 4, 128, 129, 130, 137, 139, 144, 160)]
    yield "every IP protocol", [ip4(t, p, MARK * 5) for t in (I4, FOREIGN4) for p in range(256) if p not in (6, 17)]
    yield "every IPv6 next header", [ip6(t, p, MARK * 5) for t in (I6, FOREIGN6) for p in range(256) if p not in (6, 17)]
    yield "SCTP, GRE, IP in IP, 6in4, ESP", [ip4(I4, p, b"\0\0\x08\0" + ip4(I4, 17, transport(A4, I4, 17, 9))[1]) for p in (4, 41, 47, 50, 51, 132, 137)]
    yield "IPv4 fragments", [ip4(t, p, transport(A4, t, p, 443)[at:at + 16], fragment=f) for t in (I4, FOREIGN4) for p in (6, 17, 1)
                             for at, f in ((0, 0x2000), (16, 2), (8, 0x2001), (0, 0x1fff))]
    yield "IPv4 source routes", [ip4(t, p, transport(A4, t, p, 443), options=o + socket.inet_aton(I4) + b"\0") for t in (GA4, I4) for p in (6, 17)
                                 for o in (b"\x83\x07\x04", b"\x89\x07\x04", b"\x07\x07\x04", b"\x94\x07\x00")]
    ext = lambda kind, nxt, body=b"\0" * 6: (kind, bytes([nxt, (len(body) + 2) // 8 - 1]) + body)
    route = lambda kind: ext(43, 6, bytes([kind, 1]) + b"\0\0\0\0" + socket.inet_pton(socket.AF_INET6, I6))
    made = []
    for t in (I6, FOREIGN6, GA6, GI6):
        for p in (6, 17):
            tail = transport(A6, t, p, 443)
            for kind in (0, 60, 51, 135, 139, 140, 253):
                h = ext(kind, p)
                made.append(ip6(t, h[0], h[1] + tail))
            for kind in (0, 2, 3, 4, 253):
                made.append(ip6(t, 43, route(kind)[1] + tail))
            made.append(ip6(t, 44, struct.pack(">BBHI", p, 0, 1, 9) + tail))
            made.append(ip6(t, 44, struct.pack(">BBHI", p, 0, 0, 9) + tail))
            made.append(ip6(t, 44, struct.pack(">BBHI", 60, 0, 1, 10) + ext(60, p)[1]))
    yield "IPv6 extension headers and fragments", made
    yield "spoofed sources, IPv4", [ip4(t, p, transport(s, t, p, port), source=s) for s in (I4, GI4, GA4, "127.0.0.1", "0.0.0.0", FOREIGN4, "224.0.0.1", "198.18.1.77")
                                    for t in (I4, GI4, FOREIGN4) for p, port in ((6, 443), (6, 2525), (17, 53), (17, 9))]
    yield "spoofed sources, IPv6", [ip6(t, p, transport(s, t, p, port), source=s) for s in (I6, GI6, GA6, "::1", "::", FOREIGN6, "fe80::9", "ff02::1")
                                    for t in (I6, GI6, FOREIGN6) for p, port in ((6, 443), (17, 53), (17, 9))]
    yield "spoofed ICMP errors", [ip4(t, 1, b"\x03\x04\0\0\0\0\0\x40" + ip4(A4, 6, transport(I4, A4, 6, 443), source=I4)[1]) for t in (GI4, GA4, I4)]
    yield "TCP with odd flags", [ip4(t, 6, transport(A4, t, 6, 443, flags=f)) for t in (I4, FOREIGN4, GI4) for f in (0, 1, 4, 16, 18, 41, 63, 255)]
    yield "TTL 1", [ip4(t, p, transport(A4, t, p, 443), ttl=1) for t in (I4, FOREIGN4) for p in (6, 17)] \
        + [ip6(t, p, transport(A6, t, p, 443), hops=1) for t in (I6, FOREIGN6) for p in (6, 17)]
    yield "other ethertypes", [(kind, MARK * 6) for kind in (0x0806, 0x8100, 0x88a8, 0x8847, 0x88cc, 0x8863, 0x86dd, 0x0800, 0x0001, 0x9000)]
    yield "DNS for denied names", [ip4(t, 17, transport(A4, t, 17, 53, question("leakprobe.denied.test"))) for t in (I4, GI4, GA4, "8.8.8.8", "192.0.2.53")] \
        + [ip6(t, 17, transport(A6, t, 17, 53, question("leakprobe.denied.test"))) for t in (I6, GI6, "2001:4860:4860::8888")]


USER_PROBE = r"""
import socket, sys
mark = b"LEAKPROBE"
targets = sys.argv[1:]
def tcp(to, port, data=mark, wait=0.2):
    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET)
    s.settimeout(wait)
    try:
        s.connect((to, port)); s.sendall(data); s.recv(100)
    except OSError: pass
    s.close()
for to in targets:
    for port in (1, 21, 22, 25, 80, 853, 993, 3128, 5432, 8080, 9901, 15001, 15053, 65535): tcp(to, port)
    q = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x09leakprobe\x06denied\x04test\0\0\x10\0\1"
    tcp(to, 53, bytes([0, len(q)]) + q)
    u = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
    for port in (53, 123, 443, 9999, 15053):
        try: u.sendto(q if port == 53 else mark * 200, (to, port))
        except OSError: pass
    for kind, proto in ((socket.SOCK_RAW, 1), (socket.SOCK_DGRAM, 1), (socket.SOCK_STREAM, 132), (socket.SOCK_DGRAM, 136)):
        try:
            s = socket.socket(u.family, kind, proto); s.settimeout(0.2); s.connect((to, 0)); s.send(b"\x08\0\0\0\0\0\0\0" + mark)
        except OSError: pass
"""


def send_frames(lab, packets):
    with sockets_in(lab.a):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    own, gw = (json.loads(run("ip", "-n", ns, "-j", "link", "show", dev).stdout)[0]["address"] for ns, dev in
               ((lab.a, "sl-a"), (lab.g, "sl-ga")))
    mac = lambda text: bytes.fromhex(text.replace(":", ""))
    with s:
        s.bind(("sl-a", 0))
        for kind, data in packets:
            for to in (mac(gw),) if kind in (0x0800, 0x86dd) else (mac(gw), b"\xff" * 6):
                s.send(to + mac(own) + struct.pack(">H", kind) + data)


def capture(lab, dns=("api.test",), ports=(EVIL,)):
    return Capture(lab, dns, ports)


def described(bad):
    return ["%04x %s" % (kind, data[:60].hex()) for kind, data in bad[:5]]


def probe_quickly(lab):
    """A little of everything, for the moments when something has just died."""
    send_frames(lab, [p for _, made in frames() for p in made[::9]])
    for to, port in ((I4, 9999), (FOREIGN4, 443), (I4, 25)):
        try:
            raw(lab, to, port, timeout=0.3).close()
        except OSError:
            pass


def test_way_out(lab, r):
    keep = client(lab, port=EVIL)
    keep.get("/")
    for name, made in frames():
        c = capture(lab)
        send_frames(lab, made)
        good = keep.get("/").status == 200          # and the gateway lives on meanwhile
        bad = c.end()
        r.check("way out: %s (%d packets)" % (name, len(made)), good and not bad and not c.lost, described(bad))
    c = capture(lab)
    probes = {(uid, to): subprocess.Popen(
        ["ip", "netns", "exec", lab.a, "setpriv", "--reuid=%d" % uid, "--regid=%d" % uid, "--clear-groups", sys.executable,
         "-c", USER_PROBE, to], stderr=subprocess.PIPE, text=True)
        for uid in (0, AGENT_UID) for to in (I4, I6, FOREIGN4, FOREIGN6, GA4, GI4, "169.254.169.254")}
    for who, p in probes.items():
        err = p.communicate(timeout=120)[1]
        r.check("way out: the probe of uid %d to %s ran" % who, p.returncode == 0, err)
    bad = c.end()
    r.check("way out: sockets of root and of a plain user", not bad and not c.lost, described(bad))
    c = capture(lab)
    for at in range(0, 4096, 512):
        send_frames(lab, [ip4(I4, 6, transport(A4, I4, 6, p, sport=30000 + p % 7)) for p in range(at + 1, at + 513) if p not in (2525,)])
    bad = c.end()
    r.check("way out: a scan of 4096 TCP ports ends at the gateway", not bad and not c.lost, described(bad))
    # The gateway's own services are not the agent's.
    reached = []
    for to in (GA4, GI4, GA6, GI6):
        for port in (9901, 15001, 15053):
            try:
                with raw(lab, to, port, timeout=3) as s:
                    s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                    got = s.recv(65536)
            except OSError:
                continue
            if b"slapenir_exchanges" in got or not re.match(rb"HTTP/1.1 4\d\d", got):
                reached.append((to, port, got[:200]))
    r.check("way out: the gateway's own ports are out of reach", not reached, reached)
    # The capture does see what is there: an allowed request, and one the gateway's namespace sends itself.
    c = Capture(lab, (), (), ())
    ask(lab, loaded("/seen"), port=EVIL)
    r.check("way out: the capture sees what does go out (control)", c.end())
    keep.close()


# --- 4: deaths -------------------------------------------------------------------------------------------------------

class Load:
    """Agents that ask all the time, on kept and on new connections; every answer must be whole and clean."""

    def __init__(self, lab, n=4):
        self.lab, self.stop, self.done, self.faults = lab, False, 0, []
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(n)]
        for t in self.threads:
            t.start()

    def run(self, i):
        c = client(self.lab, port=EVIL)
        while not self.stop:
            try:
                a = c.get("/load", more="X: %s\r\n" % DUMMY)
                if a.status != 200 or a.body != b"ok\n":
                    raise Cut(a.raw[:300])
                self.done += 1
                if i % 2:
                    c.close()
            except (OSError, Cut) as e:
                self.faults.append("%s: %s" % (type(e).__name__, e))
                c.close()
                time.sleep(0.01)
        c.close()

    def more(self, n):
        """Waits until n more answers have come."""
        goal = self.done + n
        AttackLab.wait(lambda: self.done >= goal, "%d answers under load" % n, 60)

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join(30)
        return self.faults


def alive(lab):
    return ask(lab, loaded("/alive"), port=EVIL).startswith(b"HTTP/1.1 200")


def test_deaths(lab, r):
    for what, disturb in (("reload", lambda: lab.reload()), ("netpolicy apply", lambda: lab.netpolicy("apply"))):
        c, load = capture(lab), Load(lab)
        load.more(20)
        for _ in range(3):
            disturb()
            load.more(20)
        faults, bad = load.end(), c.end()
        r.check("deaths: %s under load loses no request" % what, not faults and load.done > 60, (load.done, faults[:3]))
        r.check("deaths: %s under load: capture clean" % what, not bad and not c.lost, described(bad))
    for role in ("worker", "minter"):
        c, load = capture(lab), Load(lab)
        load.more(20)
        victim = lab.pids(role)[0]
        os.kill(victim, signal.SIGSTOP)
        probe_quickly(lab)
        os.kill(victim, signal.SIGCONT)
        load.more(20)
        lab.wait(lambda: lab.pids(role), "a " + role)
        victim = lab.pids(role)[0]
        os.kill(victim, signal.SIGKILL)
        probe_quickly(lab)
        lab.wait(lambda: lab.pids(role) and victim not in lab.pids(role), "another " + role)
        load.more(20)
        faults, bad = load.end(), c.end()
        r.check("deaths: %s stopped and killed under load: capture clean" % role, not bad and not c.lost, described(bad))
        r.check("deaths: %s is back and serves" % role, alive(lab))
        r.check("deaths: what broke was cut, not answered wrongly (%s)" % role,
                all(not leaked(f.encode()) for f in faults) and not strays(lab), faults[:3])
        if role == "minter":
            r.check("deaths: the minter's death breaks no flow", not faults, faults[:3])
    r.check("deaths: audited", len(lab.audit("worker.died")) == 1 and len(lab.audit("minter.died")) == 1,
            (lab.audit("worker.died"), lab.audit("minter.died")))


def test_drain(lab, r):
    """SIGTERM in the middle of a download: it comes in full, new connections go nowhere."""
    size = 32 << 20
    s = tls(lab, "api.test")
    s.sendall(("GET /bytes?n=%d&how=length HTTP/1.1\r\nHost: api.test\r\n\r\n" % size).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += s.recv(1000)
    n, tail = len(head.partition(b"\r\n\r\n")[2]), b""
    c = capture(lab, ports=(EVIL, 443))
    lab.gateway.send_signal(signal.SIGTERM)
    lab.wait(lambda: "gateway.draining" in open(lab.path("gateway.log")).read(), "the drain")
    probe_quickly(lab)
    try:
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            data = s.recv(1 << 20)
            if not data:
                break
            n += len(data)
            tail = (tail + data)[-16:]
    except OSError as e:
        tail = repr(e)
    s.close()
    r.check("deaths: SIGTERM lets a running download end", n > size and tail.endswith(b"\r\n0\r\n\r\n"), (n, tail))
    status = lab.gateway.wait(40)
    probe_quickly(lab)
    bad = c.end()
    r.check("deaths: while draining and after: capture clean", status == 0 and not bad and not c.lost, (status, described(bad)))
    lab.start_gateway()


def test_master_dies(lab, r):
    c, load = capture(lab), Load(lab)
    load.more(20)
    pids = lab.pids("worker") + lab.pids("minter")
    os.kill(lab.gateway.pid, signal.SIGSTOP)
    probe_quickly(lab)
    os.kill(lab.gateway.pid, signal.SIGCONT)
    load.more(20)
    lab.gateway.kill()
    lab.gateway.wait()
    probe_quickly(lab)
    lab.wait(lambda: not [p for p in pids if os.path.exists("/proc/%d" % p)], "its children to go")
    mark = load.done
    probe_quickly(lab)
    try:
        raw(lab, I4, 443, timeout=1).close()
        reached = True
    except OSError:
        reached = False
    load.stop = True
    bad = c.end()
    r.check("deaths: master stopped and killed under load: capture clean", not bad and not c.lost, described(bad))
    r.check("deaths: without a gateway there is no way at all", not reached and load.done == mark)
    os.path.exists(lab.path("admin.sock")) and os.unlink(lab.path("admin.sock"))
    lab.start_gateway()
    r.check("deaths: and a new master serves again", alive(lab))
    load.end()


def test_disk_full(lab, r):
    small = lab.path("small")
    os.mkdir(small)
    run("mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "tmpfs", small)
    try:
        lab.stop_gateway()
        lab.audit_file = small + "/audit.jsonl"
        lab.write_config()
        lab.start_gateway()
        c, k = capture(lab), client(lab, port=EVIL)
        good = sum(k.get("/disk").status == 200 for _ in range(300))
        probe_quickly(lab)
        bad = c.end()
        with open(lab.audit_file, "rb") as f:
            text = f.read()
        r.check("deaths: a full disk under the audit stops nothing", good == 300, good)
        r.check("deaths: it was full, and is said to be", len(text) >= 12000 and "audit.write_failed" in open(lab.path("gateway.log")).read(),
                len(text))
        r.check("deaths: disk full: capture clean", not bad and not c.lost, described(bad))
        k.get("/forbidden/x")
        run("mount", "-o", "remount,size=4m", small)
        for _ in range(3):
            k.get("/after-the-flood")
        lab.wait(lambda: b"/after-the-flood" in open(lab.audit_file, "rb").read(), "lines after the disk has room")
        with open(lab.audit_file, "rb") as f:
            lines = f.read().split(b"\n")
        k.close()

        def whole(line):
            try:
                return isinstance(json.loads(line), dict)
            except ValueError:
                return False
        broken = [x[:200] for x in lines if x and not whole(x)]
        r.check("deaths: with room again lines are whole again", len(broken) <= 1 and whole(lines[-2]), broken[:3])
    finally:
        lab.stop_gateway()
        lab.audit_file = None
        run("umount", small, check=False)
        lab.write_config()
        lab.start_gateway()


# --- 5: floods ---------------------------------------------------------------------------------------------------------

def test_floods(lab, r):
    pid = lab.pids("worker")[0]
    lab.reload(flows=50, head="3s")
    pid = lab.pids("worker")[0]
    keep = client(lab, port=EVIL)
    keep.get("/")
    mark = len(lab.audit("limit_flows"))
    held, refused = [], 0
    for _ in range(500):
        try:
            s = raw(lab, I4, EVIL, timeout=5)
            s.sendall(b"\x16\x03\x01\x02\x00")
            held.append(s)
        except OSError:
            refused += 1
    got = keep.get("/")
    r.check("floods: 500 connections over limits.flows: those inside are served", got.status == 200, got.raw[:200])
    lab.wait(lambda: len(lab.audit("limit_flows")) - mark + refused >= 450, "an audit line for each refused flow")
    line = lab.audit("limit_flows")[-1]
    r.check("floods: refused flows are audited", line["event"] == "flow.refused" and line["agent"] == "coder", line)
    for s in held:
        s.close()
    lab.wait(lambda: alive(lab), "room again")
    keep.close()
    # 200 heads that never end: each is cut by the one deadline for a head, others are served.
    lab.reload(flows=4096, head="2s")
    pid = lab.pids("worker")[0]
    slow = [raw(lab, I4, 80) for _ in range(200)]
    gone, n = 0, 0
    keep = client(lab, port=EVIL)
    end = time.time() + 30
    while gone < 200 and time.time() < end:
        gone = n = 0
        for s in slow:
            try:
                s.setblocking(False)
                s.send(b"G" if n % 2 else b"E")
                if s.recv(1000) is not None:
                    gone += 1
            except BlockingIOError:
                pass
            except OSError:
                gone += 1
            n += 1
        if keep.get("/").status != 200:
            break
        time.sleep(0.2)
    r.check("floods: 200 slow heads are all cut while others are served", gone == 200, gone)
    for s in slow:
        s.close()
    lab.reload(head="10s")
    pid = lab.pids("worker")[0]
    for name, request, want in (("a 1 MB field", "GET / HTTP/1.1\r\nHost: api.test\r\nX: %s\r\n\r\n" % ("x" * (1 << 20)), b" 431 "),
                                ("a 1 MB target", "GET /%s HTTP/1.1\r\nHost: api.test\r\n\r\n" % ("x" * (1 << 20)), b" 4"),
                                ("100,000 fields", "GET / HTTP/1.1\r\nHost: api.test\r\n%s\r\n" % ("A: b\r\n" * 100000), b" 431 ")):
        got = ask(lab, request)
        r.check("floods: " + name, want in got[:16], got[:100])


def test_descriptors(lab, r):
    """A worker with 64 descriptors and 300 connections: it turns some away, lives, and serves again."""
    lab.stop_gateway()
    lab.start_gateway(prefix=["prlimit", "--nofile=64:64"])
    pid = lab.pids("worker")[0]
    run("prlimit", "--pid", pid, "--nofile=64:64", check=False)     # where the gateway may raise its limit
    with open("/proc/%d/limits" % pid) as f:
        limit = re.search(r"Max open files +(\d+)", f.read()).group(1)
    r.check("floods: the worker has 64 descriptors", limit == "64", limit)
    held = []
    for _ in range(300):
        try:
            held.append(raw(lab, I4, EVIL, timeout=5))
        except OSError:
            pass
    lab.wait(lambda: lab.audit("RLIMIT_NOFILE"), "an audit line for what was turned away")
    for s in held:
        s.close()
    line = lab.audit("RLIMIT_NOFILE")[-1]
    r.check("floods: who is turned away for want of descriptors is audited", line["event"] == "flow.refused" and line["agent"] == "coder", line)
    lab.wait(lambda: alive(lab), "an answer after descriptors ran out")
    r.check("floods: running out of descriptors is survived", lab.pids("worker") == [pid], lab.pids("worker"))
    lab.stop_gateway()
    lab.start_gateway()


def pipelined(lab, n, target, host):
    """n requests on one connection, written while answers are read; returns answers counted."""
    s = raw(lab, I4, EVIL_PLAIN)
    one = ("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, host)).encode()

    def send():
        try:
            for _ in range(n // 100):
                s.sendall(one * 100)
        except OSError:
            pass
    t = threading.Thread(target=send, daemon=True)
    t.start()
    count, tail = 0, b""
    s.settimeout(30)
    try:
        while count < n:
            data = tail + s.recv(1 << 20)
            if len(data) == len(tail):
                break
            count += data.count(b"HTTP/1.1 ")
            tail = data[-8:] if not data.endswith(b"HTTP/1.1 ") else b""
    except OSError:
        pass
    t.join(30)
    s.close()
    return count


def unread(lab, n):
    """An agent that asks n times and reads nothing until the gateway takes no more; (asked, answered, peak RSS grown)."""
    pid = lab.pids("worker")[0]
    one = b"GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n"
    before, peak, sent, data = lab.rss_kb(pid), 0, 0, one * n
    with raw(lab, I4, EVIL_PLAIN) as s:
        s.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while sent < len(data):
                sent += s.send(data[sent:sent + (1 << 16)])
                peak = max(peak, lab.rss_kb(pid))
        asked, count, tail = sent // len(one), 0, b""
        s.settimeout(20)
        with contextlib.suppress(OSError):
            while count < asked:
                piece = s.recv(1 << 20)
                if not piece:
                    break
                count += (tail + piece).count(b"HTTP/1.1 ")
                tail = piece[-8:]
    return asked, count, max(0, peak - before)


def test_memory(lab, r):
    quick = lab.sanitized()
    pid = lab.pids("worker")[0]

    def churn(n):
        def work():
            for i in range(n // 4):
                c = client(lab, port=EVIL)
                if c.get("/churn", more="X: %s\r\n" % DUMMY).status != 200:
                    faults.append(i)
                c.close()
        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    faults = []
    n = 2000 if quick else 20000
    count = pipelined(lab, n, "/", "api.test")
    r.check("memory: %d pipelined requests are all answered" % n, count == n, count)
    n = 2000 if quick else 100000
    count = pipelined(lab, n, "/x", "denied.test")
    r.check("memory: %d pipelined denials too" % n, count == n, count)
    asked, count, grown = unread(lab, 300000)
    r.check("memory: an agent that asks without reading waits, and gets every answer", 1000 < asked < 300000 and count == asked,
            (asked, count))
    r.check("memory: and costs no more than a buffer", quick or grown < 4096, "grown by %d kB" % grown)
    names = 50 if quick else 500
    for i in range(names):
        try:
            tls(lab, "n%d.wild.test" % i).close()
        except OSError:
            pass
    # Caches are full now; what grows from here on is lost.
    churn(100 if quick else 1000)
    before = lab.rss_kb(pid)
    n = 200 if quick else 5000
    churn(n)
    r.check("memory: %d connections come and go" % n, not faults, faults[:3])
    r.check("memory: the same worker throughout", lab.pids("worker") == [pid])
    lab.wait(lambda: int(counter(lab, "flows_open")) == 0, "all flows to end")
    if not quick:
        grown = lab.rss_kb(pid) - before
        r.check("memory: and is given back", grown < 2048, "grown by %d kB from %d kB" % (grown, before))


def counter(lab, name):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(lab.path("admin.sock"))
        s.sendall(b"GET /status HTTP/1.0\r\n\r\n")
        data = b""
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            data += piece
    return json.loads(data.partition(b"\r\n\r\n")[2])["counters"][name]


# --- 6: traces -------------------------------------------------------------------------------------------------------------

def places_in_memory(pid, needles):
    """(mapping, offset, needle) for each needle in a process' readable memory; the secret area apart."""
    found, unread = [], []
    with open("/proc/%d/maps" % pid) as f:
        maps = f.read().splitlines()
    with open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            words = line.split(None, 5)
            name = words[5] if len(words) > 5 else "anonymous"
            if "r" not in words[1] or name in ("[vvar]", "[vsyscall]"):
                continue
            if "secretmem" in name or "slapenir-secrets" in name:
                unread.append(name)
                continue
            low, high = (int(x, 16) for x in words[0].split("-"))
            try:
                mem.seek(low)
                data = mem.read(high - low)
            except (OSError, ValueError):
                unread.append(line)
                continue
            for needle in needles:
                at = data.find(needle)
                while at >= 0:
                    found.append((name, hex(low + at), needle.decode("latin-1"), data[max(0, at - 48):at + 64]))
                    at = data.find(needle, at + 1)
    return found, unread


def test_traces(lab, r):
    """After traffic of every kind has been served and its buffers are free, memory holds no token (REQ-7.2)."""
    if lab.sanitized():
        print("# memory is not searched under a sanitizer: it keeps what was freed")
        return
    lab.stop_gateway()
    os.rename(lab.path("audit.jsonl"), lab.path("audit.1"))
    lab.write_config()
    # The environment is a source as well: it must not keep what came from it.
    with open(lab.path("slapenir.yaml")) as f:
        text = f.read()
    with open(lab.path("slapenir.yaml"), "w") as f:
        f.write(text.replace("real: { file: %s/real-git }" % lab.dir, "real: { env: GIT_REAL_TOKEN }"))
    lab.start_gateway(env=dict(os.environ, GIT_REAL_TOKEN=UNDER["git"]))
    needles = [v.encode() for v in UNDER.values()] + [base64.b64encode(("u:" + UNDER["api"]).encode())[:24],
                                                      base64.b64encode(("agent:" + UNDER["git"]).encode())[8:40]]
    body = "k=%s&" % DUMMY * 200
    for port, maximum in ((EVIL, None), (EVIL12, ssl.TLSVersion.TLSv1_2)):
        how = dict(port=port, maximum=maximum)
        ask(lab, loaded("/a?k=" + DUMMY, method="POST", more="Content-Length: %d" % len(body), body=body), **how)
        big = body * 100
        ask(lab, loaded("/a", method="POST", more="Content-Length: %d\r\nContent-Type: text/plain" % len(big), body=big), **how)
        ask(lab, loaded("/a", method="POST", more="Transfer-Encoding: chunked") + "%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), **how)
        c = client(lab, **how)
        for place in PLACES:
            for framing, script, _ in answers(place, TEXTS["prefixes"] + b" " + TEXTS["one"]):
                for n in (0, len(script) // 2, len(script) - 20):
                    lab.evil.scripts["now"] = script
                    c.get("/split/now/%d" % n)
        lab.evil.scripts["now"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked((b"x" * 500 + API) * 1000, size=30000)
        c.get("/split/now/0")
        c.close()
        # Unhappy ends: cut in the middle of an answer, a reset agent, a denied answer, a leak.
        lab.evil.scripts["now"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + API * 500
        ask(lab, loaded("/once/now/7"), **how)
        lab.evil.scripts["now"] = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\nX: " + API + b"\r\n\r\n" + API
        ask(lab, loaded("/once/now/7"), **how)
        s = tls(lab, "api.test", **how)
        s.sendall(loaded("/once/now/7").encode())
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    ask(lab, loaded("/x"), port=80, plain=True)
    with raw(lab, I4, 2525) as s:
        r.check("traces: a server-first greeting is redacted", b"[REDACTED]" in s.recv(100))
    lab.agent("git", "ls-remote", "https://agent:%s@git.test/git/project.git" % "ghp_dummy000000000000000000000000000000")
    lab.wait(lambda: int(counter(lab, "flows_open")) == 0, "all flows to end")
    for role in ("worker", "minter", "master", "new worker"):
        if role == "master":
            lab.reload()    # the sources are read once more
        for pid in lab.pids(role.split()[-1]):
            found, unread = places_in_memory(pid, needles)
            r.check("traces: memory of the %s" % role, not found, "\n".join("%s %s %s %r" % x for x in found[:12]))
            print("# %s: not searched: %s" % (role, ", ".join(unread)))
            for name in ("environ", "cmdline", "comm"):
                with open("/proc/%d/%s" % (pid, name), "rb") as f:
                    text = f.read()
                r.check("traces: %s of the %s" % (name, role), not any(n in text for n in needles))
    worker = lab.pids("worker")[0]
    # The search does find: a dummy that the worker has seen lately is in no list, its public names are.
    r.check("traces: the search finds what is there (control)", places_in_memory(worker, [b"api.test"])[0])
    with open("/proc/%d/maps" % worker) as f:
        area = [x for x in f if "secretmem" in x or "slapenir-secrets" in x]
    r.check("traces: the secret area is there, shared and read-only", area and all(x.split()[1] == "r--s" for x in area), area)
    for name in ("audit.jsonl", "audit.1", "gateway.log"):
        with open(lab.path(name), "rb") as f:
            text = f.read()
        r.check("traces: %s" % name, not any(n in text for n in needles) and (text or name == "gateway.log"))


def test_way_out_control(lab, r):
    """The table above says something only if its packets would get out where nothing stops them."""
    lab.netpolicy("remove")
    run("ip", "netns", "exec", lab.g, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    through = []
    for name, made in frames():
        c = capture(lab)
        send_frames(lab, made)
        if c.end():
            through.append(name)
    lab.netpolicy("apply")
    print("# without the rules and with forwarding these get out: " + "; ".join(through))
    r.check("way out: without the rules most of it would get out (control)", len(through) >= 12, through)
    r.check("way out: the rules are back", lab.netpolicy("check", check=False).returncode == 0 and alive(lab))


TESTS = [test_leaks, test_leaks_at_boundaries, test_leaks_elsewhere, test_hosts, test_hosts_reuse, test_way_out, test_deaths,
         test_drain, test_master_dies, test_disk_full, test_floods, test_descriptors, test_memory, test_traces, test_way_out_control]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bin", required=True)
    ap.add_argument("names", nargs="*")
    args = ap.parse_args()
    reason = why_not()
    if reason:
        print("skip - the promises under attack: " + reason)
        print("0 passed, 0 failed, 1 skipped")
        return 77
    r = Results()
    lab = AttackLab(args.bin)
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
        if r.failed:
            print(open(lab.path("gateway.log"), errors="replace").read()[-int(os.environ.get("LOGBYTES", 4000)):])
    finally:
        lab.close()
    return r.finish()


if __name__ == "__main__":
    sys.exit(main())
