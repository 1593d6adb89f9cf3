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


TESTS = [test_leaks, test_leaks_at_boundaries, test_leaks_elsewhere, test_hosts, test_hosts_reuse]


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
