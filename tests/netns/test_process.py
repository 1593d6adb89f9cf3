#!/usr/bin/env python3
"""test_process.py - processes of a real gateway: start, death of each, reload, drain, what each may still do

Two namespaces: `gw` holds the gateway and, on its loopback, the agent; `up` holds a TLS server. The agent connects
straight to the TPROXY port, so no kernel rules are needed here. Everything made is removed again, also when
interrupted. Standard library only; needs root, ip, unshare and openssl.

    test_process.py --bin DIR [NAME...]
"""
import argparse
import atexit
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

CANARY = "sk-real-CANARY-4c4e8f8a7b6c"
DUMMY = "sk-dummy-processtest"
PORT = 15001
TAG = "slp%d" % (os.getpid() % 100000)
WAIT = 20

CONFIG = """\
version: 1
gateway:
  workers: 2
  agent_interfaces: [lo]
  dns: {{ upstream: [system] }}
  admin: {{ unix: {dir}/admin.sock, listen: 127.0.0.1:9901 }}
  audit: {{ file: {audit} }}
  limits: {{ drain: {drain} }}
tls:
  ca: {{ certificate: ca.crt, key: ca.key }}
  upstream_trust: ca.crt
identity: {{ mtls: {mtls} }}
agents:
  - name: coder
    sources: [127.0.0.0/8]
secrets:
  - name: api
    dummy: {dummy}
    real: {real}
    hosts: [api.test]
egress:
  allow_special: [198.18.99.0/24]
  rules:
    - allow: {{ hosts: [api.test, "*.wild.test"], paths: ["/v1/**"], ports: [15001] }}
{more}"""

SERVER = r"""
import http.server, ssl, sys, time
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        if self.path.startswith("/v1/slow"):
            time.sleep(float(self.path.rsplit("/", 1)[1]))
        body = ("got " + self.headers.get("authorization", "none")).encode()
        with open(sys.argv[2], "ab") as f:
            f.write(self.path.encode() + b" " + body + b"\n")
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a):
        pass
class S(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
s = S(("198.18.99.2", 15001), H)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
c.load_cert_chain(sys.argv[1] + "/srv.crt", sys.argv[1] + "/srv.key")
s.socket = c.wrap_socket(s.socket, server_side=True, do_handshake_on_connect=False)
s.serve_forever()
"""


def sh(*argv, check=True):
    return subprocess.run(argv, check=check, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def until(what, fn, seconds=WAIT):
    """Polls; the limit only bounds a hang, no time is asserted."""
    end = time.monotonic() + seconds
    while True:
        try:
            value = fn()
        except (OSError, ValueError, http.client.HTTPException):
            value = None
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("never came: " + what)
        time.sleep(0.02)


class Lab:
    def __init__(self, bindir):
        self.program = os.path.join(bindir, "slapenir-gateway")
        self.dir = tempfile.mkdtemp(prefix="slapenir-process-")
        os.chmod(self.dir, 0o755)
        self.gw, self.up = TAG + "g", TAG + "u"
        self.children = []
        atexit.register(self.close)
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, lambda *a: sys.exit(1))
        self.network()
        self.certificates()
        self.server_log = self.dir + "/server.log"
        self.spawn(["ip", "netns", "exec", self.up, sys.executable, "-c", SERVER, self.dir, self.server_log])
        with open(self.dir + "/hosts", "w") as f:
            f.write("198.18.99.2 api.test a.wild.test b.wild.test c.wild.test\n")
        with open(self.dir + "/resolv.conf", "w") as f:
            f.write("nameserver 198.18.99.2\n")

    def network(self):
        for ns in (self.gw, self.up):
            sh("ip", "netns", "add", ns)
            sh("ip", "-n", ns, "link", "set", "lo", "up")
        sh("ip", "link", "add", TAG + "a", "netns", self.gw, "type", "veth", "peer", "name", TAG + "b",
           "netns", self.up)
        for ns, dev, addr in ((self.gw, TAG + "a", "198.18.99.1/24"), (self.up, TAG + "b", "198.18.99.2/24")):
            sh("ip", "-n", ns, "addr", "add", addr, "dev", dev)
            sh("ip", "-n", ns, "link", "set", dev, "up")

    def certificates(self):
        d = self.dir
        for name in ("ca", "other", "srv"):
            sh("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "%s/%s.key" % (d, name))
        sh("openssl", "req", "-x509", "-new", "-key", d + "/ca.key", "-sha256", "-days", "2", "-subj",
           "/CN=process test CA", "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0", "-addext",
           "keyUsage=critical,keyCertSign,cRLSign", "-out", d + "/ca.crt")
        with open(d + "/ext", "w") as f:
            f.write("subjectAltName=DNS:api.test,DNS:*.wild.test\nbasicConstraints=CA:FALSE\n"
                    "extendedKeyUsage=serverAuth\n")
        sh("openssl", "req", "-new", "-key", d + "/srv.key", "-subj", "/CN=api.test", "-out", d + "/srv.csr")
        sh("openssl", "x509", "-req", "-in", d + "/srv.csr", "-CA", d + "/ca.crt", "-CAkey", d + "/ca.key",
           "-CAcreateserial", "-days", "2", "-extfile", d + "/ext", "-out", d + "/srv.crt")

    def spawn(self, argv, **kw):
        p = subprocess.Popen(argv, **kw)
        self.children.append(p)
        return p

    def close(self):
        for p in self.children:
            if p.poll() is None:
                p.kill()
            p.wait()
        self.children = []
        for ns in (self.gw, self.up):
            sh("ip", "netns", "del", ns, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


class Gateway:
    """One running gateway; also the agent's side of it."""

    def __init__(self, lab, env=None, real="{ env: TEST_KEY }", **kw):
        self.lab = lab
        self.config = lab.dir + "/slapenir.yaml"
        self.audit_file = kw.get("audit", lab.dir + "/audit.jsonl")
        self.log_file = lab.dir + "/gateway.log"
        self.real = real
        for path in (self.audit_file, self.log_file):
            if os.path.isfile(path):
                os.unlink(path)
        self.write(**kw)
        environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TEST_KEY": CANARY}
        for name in os.environ:
            if name.endswith("SAN_OPTIONS"):
                environ[name] = os.environ[name]
        environ.update(env or {})
        script = ("mount --make-rprivate / && mount --bind {d}/hosts /etc/hosts && "
                  "mount --bind {d}/resolv.conf /etc/resolv.conf && "
                  "exec {b} --config {c}").format(d=lab.dir, b=lab.program, c=self.config)
        self.process = lab.spawn(["ip", "netns", "exec", lab.gw, "unshare", "-m", "sh", "-c", script],
                                 env=environ, stderr=open(self.log_file, "ab"))
        self.pid = self.process.pid

    def write(self, mtls="off", drain="10s", more="", audit=None, dummy=DUMMY):
        with open(self.config, "w") as f:
            f.write(CONFIG.format(dir=self.lab.dir, mtls=mtls, drain=drain, more=more, dummy=dummy,
                                  real=self.real, audit=audit or self.audit_file))

    def ready(self):
        until("the gateway is ready", lambda: '"gateway.ready"' in self.log() or self.process.poll() is not None)
        assert self.process.poll() is None, "it ended: " + self.log()
        return self

    def log(self):
        with open(self.log_file, errors="replace") as f:
            return f.read()

    def audit(self, event=None):
        with open(self.audit_file) as f:
            lines = [json.loads(line) for line in f.read().splitlines()]
        return [line for line in lines if event is None or line["event"] == event]

    def kids(self, role):
        """pids of live children of that role, in any order"""
        out = []
        with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as f:
            for pid in f.read().split():
                try:
                    with open("/proc/%s/comm" % pid) as c, open("/proc/%s/cmdline" % pid) as a:
                        if c.read().strip() == "slapenir-" + role and ("--role\0" + role) in a.read():
                            out.append(int(pid))
                except OSError:
                    pass
        return sorted(out)

    def admin(self, path):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(5)
        s.connect(self.lab.dir + "/admin.sock")
        s.sendall(("GET %s HTTP/1.0\r\n\r\n" % path).encode())
        data = b""
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            data += piece
        s.close()
        head, _, body = data.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    def counter(self, name):
        return json.loads(self.admin("/status")[1])["counters"][name]

    def connect(self, host="api.test", timeout=15):
        return Agent(self.lab, host, timeout)

    def get(self, path="/v1/x", host="api.test", **kw):
        agent = self.connect(host, **kw)
        try:
            return agent.get(path)
        finally:
            agent.close()

    def signal(self, number):
        os.kill(self.pid, number)

    def stop(self):
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.process.wait(WAIT)


class Agent:
    """One TLS connection of the agent, made inside the gateway's namespace."""

    def __init__(self, lab, host, timeout):
        self.host = host
        raw = in_netns(lab.gw, lambda: socket.create_connection(("127.0.0.1", PORT), timeout))
        self.local_port = raw.getsockname()[1]
        context = ssl.create_default_context(cafile=lab.dir + "/ca.crt")
        try:
            self.tls = context.wrap_socket(raw, server_hostname=host)
        except BaseException:
            raw.close()
            raise

    def send(self, path):
        self.tls.sendall(("GET %s HTTP/1.1\r\nhost: %s:%d\r\nauthorization: Bearer %s\r\n\r\n"
                          % (path, self.host, PORT, DUMMY)).encode())

    def receive(self):
        r = http.client.HTTPResponse(self.tls)
        r.begin()
        return r.status, r.read().decode()

    def get(self, path):
        self.send(path)
        return self.receive()

    def close(self):
        self.tls.close()


NETNS_LOCK = threading.Lock()


def in_netns(name, fn):
    """Runs fn in a thread of its own that has entered the namespace; the rest of this program stays."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    box = {}

    def run():
        try:
            with open("/run/netns/" + name) as f:
                if libc.setns(f.fileno(), 0x40000000) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            box["value"] = fn()
        except BaseException as e:          # handed to the caller
            box["error"] = e
    t = threading.Thread(target=run)
    t.start()
    t.join()
    if "error" in box:
        raise box["error"]
    return box["value"]


def status_of(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def sockets_of(pid):
    out = set()
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            m = re.match(r"socket:\[(\d+)\]", os.readlink("/proc/%d/fd/%s" % (pid, fd)))
        except OSError:
            continue
        if m:
            out.add(m.group(1))
    return out


def owner_of(gw, agent):
    """the worker that holds this agent's connection"""
    with open("/proc/%d/net/tcp" % gw.pid) as f:
        for line in f.read().splitlines()[1:]:
            c = line.split()
            if int(c[1].split(":")[1], 16) == PORT and int(c[2].split(":")[1], 16) == agent.local_port:
                for pid in gw.kids("worker"):
                    if c[9] in sockets_of(pid):
                        return pid
    return None


def gone(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def swapped(answer):
    assert answer == (200, "got Bearer [REDACTED]"), answer
    return True


# ---- tests -----------------------------------------------------------------------------------------------------

def run_cli(lab, *args, env=None, user=None):
    e = {"PATH": "/usr/bin:/bin"}
    e.update(env or {})
    for name in os.environ:
        if name.endswith("SAN_OPTIONS"):
            e[name] = os.environ[name]
    p = subprocess.run([lab.program] + list(args), env=e, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=60, user=user)
    return p.returncode, p.stdout


def test_command_line(lab):
    code, out = run_cli(lab, "--version")
    assert code == 0 and "wolfSSL" in out and "AES-NI" in out and "libuv" in out, out
    code, out = run_cli(lab, "--help")
    assert code == 0 and "--check" in out, out
    for args in (["--bogus"], ["stray"], ["--config"], ["--role", "king"], ["--slot", "x"]):
        code, out = run_cli(lab, *args)
        assert code == 2, (args, code, out)
    code, out = run_cli(lab, env={"SLAPENIR_LOG": "loud"})
    assert code == 2 and "SLAPENIR_LOG" in out, out


def test_check(lab):
    def check(text, env=None, **kw):
        path = lab.dir + "/check.yaml"
        base = dict(dir=lab.dir, mtls="off", drain="10s", more="", dummy=DUMMY, real="{ env: TEST_KEY }",
                    audit=lab.dir + "/a")
        base.update(kw)
        with open(path, "w") as f:
            f.write(text.format(**base))
        e = {"TEST_KEY": CANARY}
        e.update(env or {})
        code, out = run_cli(lab, "--config", path, "--check", env=e)
        assert CANARY not in out, out
        return code, out
    code, out = check(CONFIG)
    assert code == 0 and "1 secrets have values" in out and "can sign" in out, out
    rows = [
        (CONFIG + "bogus: 1\n", {}, {}, "check.yaml:%d:1" % (CONFIG.count("\n") + 1)),
        (CONFIG, {}, {"mtls": "required"}, "slapenir-link"),
        (CONFIG, {"TEST_KEY": ""}, {}, "value is empty"),
        (CONFIG, {"TEST_KEY": CANARY + "\r\nx: y"}, {}, "control character"),
        (CONFIG, {"TEST_KEY": "short"}, {}, "shorter than"),
        (CONFIG, {"TEST_KEY": DUMMY}, {}, "a real value that is a dummy"),
        (CONFIG, {}, {"real": "{ env: NOT_THERE }"}, "NOT_THERE is not set"),
        (CONFIG, {}, {"real": "{ file: /nonexistent/key }"}, "/nonexistent/key"),
        (CONFIG.replace("ca.key", "other.key"), {}, {}, "tls.ca"),
        (CONFIG.replace("key: ca.key", "key: nothing.key"), {}, {}, "nothing.key"),
        (CONFIG.replace("certificate: ca.crt", "certificate: srv.crt").replace("ca.key", "srv.key"), {}, {}, "tls.ca"),
        (CONFIG.replace("upstream_trust: ca.crt", "upstream_trust: ca.key"), {}, {}, "upstream_trust"),
        (CONFIG.replace("  workers: 2", "  user: root"), {}, {}, "must not be root"),
        (CONFIG.replace("  workers: 2", "  user: nobody-knows-me"), {}, {}, "no such account"),
        (CONFIG, {"TOKENS_JSON": "/nonexistent/tokens"}, {}, "TOKENS_JSON"),
        (CONFIG, {"CERT_PATH": "/nonexistent"}, {}, "/nonexistent/interception.crt"),
    ]
    for text, env, kw, want in rows:
        code, out = check(text, env, **kw)
        assert code == 2 and want in out, (want, code, out)
    code, out = run_cli(lab, "--config", "/nonexistent.yaml", "--check")
    assert code == 2 and "/nonexistent.yaml" in out, out


def test_no_privilege(lab):
    os.chmod(lab.dir, 0o755)
    shutil.copy(lab.program, lab.dir + "/program")
    code = subprocess.run([lab.dir + "/program", "--config", "/nonexistent"], user=65534, stderr=subprocess.PIPE,
                          text=True)
    assert code.returncode == 1 and "CAP_NET_ADMIN" in code.stderr, code


def test_refuses_to_start(lab):
    for kw, env, code in (({"mtls": "required"}, {}, 2), ({}, {"TEST_KEY": "a\nb-c-d-e-f-g"}, 2),
                          ({"audit": "/nonexistent/dir/audit"}, {}, 1)):
        gw = Gateway(lab, env=env, **kw)
        assert gw.process.wait(WAIT) == code, gw.log()
    gw = Gateway(lab)
    gw.write()
    shutil.copy(lab.dir + "/ca.key", lab.dir + "/ca.key.kept")
    gw.stop()
    shutil.copy(lab.dir + "/other.key", lab.dir + "/ca.key")
    try:
        gw = Gateway(lab)
        assert gw.process.wait(WAIT) == 1 and "minter.no_ca" in gw.log(), gw.log()
    finally:
        shutil.move(lab.dir + "/ca.key.kept", lab.dir + "/ca.key")


def test_powers_are_given_up(lab):
    gw = Gateway(lab).ready()
    with open("/proc/%d/comm" % gw.pid) as f:
        assert f.read().strip() == "slapenir-master"
    assert len(gw.kids("worker")) == 2 and len(gw.kids("minter")) == 1
    for pid in gw.kids("worker") + gw.kids("minter"):
        s = status_of(pid)
        for caps in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(s[caps], 16) == 0, (pid, caps, s[caps])
        assert s["NoNewPrivs"] == "1" and s["Seccomp"] == "2", s
        assert "0" not in s["Uid"].split() and "0" not in s["Gid"].split() and not s["Groups"].strip(), s
        with open("/proc/%d/limits" % pid) as f:
            assert re.search(r"core file size\s+0\s+0", f.read())
    s = status_of(gw.pid)
    assert s["NoNewPrivs"] == "1"
    allowed = {6, 7, 8, 2, 5, 10, 12, 13, 14}
    have = {c for c in range(64) if int(s["CapPrm"], 16) >> c & 1}
    assert have <= allowed, have
    assert int(s["CapBnd"], 16) == int(s["CapPrm"], 16)
    for pid in gw.kids("minter"):
        assert not [f for f in os.listdir("/proc/%d/fd" % pid)
                    if ".key" in os.readlink("/proc/%d/fd/%s" % (pid, f))]
    gw.stop()


def test_secrets_leave_no_trace(lab):
    gw = Gateway(lab).ready()
    swapped(gw.get())
    for pid in [gw.pid] + gw.kids("worker") + gw.kids("minter"):
        for name in ("environ", "cmdline"):
            with open("/proc/%d/%s" % (pid, name), "rb") as f:
                assert CANARY.encode() not in f.read(), (pid, name)
    for pid in gw.kids("worker"):
        with open("/proc/%d/maps" % pid) as f:
            line = [x for x in f if "secretmem" in x or "slapenir-secrets" in x]
        assert line and all(x.split()[1] == "r--s" for x in line), line
    gw.stop()
    assert CANARY not in gw.log() and DUMMY not in gw.log()
    with open(gw.audit_file) as f:
        text = f.read()
    assert CANARY not in text and DUMMY not in text and "Bearer" not in text


def test_traffic_and_audit(lab):
    gw = Gateway(lab).ready()
    swapped(gw.get("/v1/one?key=1"))
    status, body = gw.get("/v2/no")
    assert status == 403 and json.loads(body)["error"]["reason"] == "deny_path", body
    with open(lab.server_log) as f:
        assert ("/v1/one?key=1 got Bearer " + CANARY) in f.read()
    line = until("the audit line", lambda: [x for x in gw.audit("exchange") if x["path"] == "/v1/one"])[0]
    assert line["status"] == 200 and line["secrets"] == ["api"] and line["redactions"] == 1, line
    assert line["agent"] == "coder" and line["rule"] == "egress.rules[0]" and line["decision"] == "allow"
    assert gw.admin("/healthz") == (200, "ok\n"), gw.admin("/healthz")
    assert gw.admin("/nothing")[0] == 404
    until("two exchanges are counted", lambda: gw.counter("exchanges_total") == 2)
    with in_netns(lab.gw, lambda: socket.create_connection(("127.0.0.1", 9901), 5)) as s:
        s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b"slapenir_exchanges_total" in s.makefile("rb").read()
    gw.stop()


def test_worker_dies(lab):
    gw = Gateway(lab).ready()
    agents = [gw.connect() for _ in range(16)]
    for a in agents:
        swapped(a.get("/v1/x"))
    victim, other = gw.kids("worker")
    owners = {a: owner_of(gw, a) for a in agents}
    assert set(owners.values()) == {victim, other}, "both workers hold flows: " + str(owners.values())
    os.kill(victim, signal.SIGKILL)
    until("a new worker", lambda: len(gw.kids("worker")) == 2 and victim not in gw.kids("worker"))
    for a in agents:
        if owners[a] == other:
            swapped(a.get("/v1/after"))
            continue
        try:
            a.get("/v1/after")
            raise AssertionError("a flow of a dead worker answered")
        except (OSError, http.client.HTTPException):
            pass
    for _ in range(24):
        swapped(gw.get())
    line = until("an audit line", lambda: gw.audit("worker.died"))[0]
    assert line["reason"] == "Killed", line
    until("health is back", lambda: gw.admin("/healthz")[0] == 200)
    # Again and again: each time it comes back.
    for _ in range(3):
        for pid in gw.kids("worker"):
            os.kill(pid, signal.SIGKILL)
        before = gw.kids("worker")
        until("new workers", lambda: len(gw.kids("worker")) == 2 and not set(before) & set(gw.kids("worker")))
        until("service", lambda: swapped(gw.get()))
    assert gw.stop() == 0, gw.log()


def test_waiting_connections_outlive_a_worker(lab):
    gw = Gateway(lab).ready()
    workers = gw.kids("worker")
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    answers = []

    def ask():
        try:
            answers.append(gw.get())
        except BaseException as e:
            answers.append(repr(e))
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for t in threads:
        t.start()

    def queued():
        with open("/proc/%d/net/tcp" % gw.pid) as f:
            rows = [x.split() for x in f.read().splitlines()[1:]]
        return sum(1 for c in rows if int(c[1].split(":")[1], 16) == PORT and c[3] == "01") == 8
    until("eight connections wait to be accepted", queued)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    for t in threads:
        t.join()
    for answer in answers:
        swapped(answer)
    assert gw.stop() == 0


def test_hung_children_are_replaced(lab):
    gw = Gateway(lab).ready()
    stuck = [gw.kids("worker")[0], gw.kids("minter")[0]]
    for pid in stuck:
        os.kill(pid, signal.SIGSTOP)
    until("they are replaced", lambda: len(gw.kids("worker")) == 2 and len(gw.kids("minter")) == 1 and
          not set(stuck) & set(gw.kids("worker") + gw.kids("minter")), 60)
    assert gw.log().count("process.hung") == 2, gw.log()
    for host in ("a.wild.test", "b.wild.test", "api.test"):
        assert gw.get(host=host)[0] == 200
    assert gw.stop() == 0


def test_minter_dies(lab):
    gw = Gateway(lab).ready()
    swapped(gw.get())
    minter = gw.kids("minter")[0]
    os.kill(minter, signal.SIGKILL)
    # A name nobody has asked for yet, asked while there may be no minter: it waits and is served.
    assert gw.get(host="a.wild.test")[0] == 200
    until("a new minter", lambda: gw.kids("minter") and minter not in gw.kids("minter"))
    for host in ("b.wild.test", "c.wild.test"):
        for _ in range(4):
            assert gw.get(host=host)[0] == 200
    swapped(gw.get())
    until("an audit line", lambda: gw.audit("minter.died"))
    assert gw.stop() == 0


def test_master_dies(lab):
    gw = Gateway(lab).ready()
    agent = gw.connect()
    swapped(agent.get("/v1/x"))
    kids = gw.kids("worker") + gw.kids("minter")
    os.kill(gw.pid, signal.SIGKILL)
    gw.process.wait(WAIT)
    for pid in kids:
        until("process %d is gone" % pid, lambda: gone(pid))
    try:
        agent.get("/v1/x")
        raise AssertionError("a flow outlived the master")
    except (OSError, http.client.HTTPException):
        pass
    try:
        in_netns(lab.gw, lambda: socket.create_connection(("127.0.0.1", PORT), 2))
        raise AssertionError("somebody still listens")
    except ConnectionRefusedError:
        pass


def test_wrong_reload_changes_nothing(lab):
    gw = Gateway(lab).ready()
    kids = gw.kids("worker") + gw.kids("minter")

    def failed(n):
        until("reload %d is refused" % n, lambda: len(gw.audit("config.reload_failed")) == n)
        until("the old processes are the only ones",
              lambda: sorted(gw.kids("worker") + gw.kids("minter")) == sorted(kids))
        swapped(gw.get())
    gw.write(more="bogus: 1\n")
    gw.signal(signal.SIGHUP)
    failed(1)
    assert "bogus" in gw.log() and "slapenir.yaml:%d:1" % (CONFIG.count("\n") + 1) in gw.log(), gw.log()
    gw.write(mtls="required")
    gw.signal(signal.SIGHUP)
    failed(2)
    os.unlink(gw.config)
    gw.signal(signal.SIGHUP)
    failed(3)
    # Valid text, but a CA the minter refuses: found out by the new minter, not by flows.
    gw.write()
    text = open(gw.config).read()
    with open(gw.config, "w") as f:
        f.write(text.replace("ca.key", "other.key"))
    gw.signal(signal.SIGHUP)
    failed(4)
    assert gw.admin("/healthz")[0] == 200
    assert gw.stop() == 0


def test_reload(lab):
    gw = Gateway(lab).ready()
    old = gw.kids("worker") + gw.kids("minter")
    slow, idle = gw.connect(), gw.connect()
    swapped(idle.get("/v1/x"))
    slow.send("/v1/slow/3")
    assert gw.get("/v3/x")[0] == 403
    stop, wrong = threading.Event(), []

    def load():
        while not stop.is_set():
            try:
                swapped(gw.get())
            except BaseException as e:
                wrong.append(repr(e))
    threads = [threading.Thread(target=load) for _ in range(4)]
    for t in threads:
        t.start()
    gw.write(more='    - allow: { hosts: [api.test], paths: ["/v3/**"], ports: [15001] }\n')
    for n in range(1, 3):
        gw.signal(signal.SIGHUP)
        until("reload %d" % n, lambda: len(gw.audit("config.reloaded")) == n)
    until("only new processes take flows", lambda: gw.get("/v3/x")[0] == 200)
    swapped(slow.receive())
    until("the old ones have gone", lambda: not set(old) & set(gw.kids("worker") + gw.kids("minter")))
    stop.set()
    for t in threads:
        t.join()
    if os.path.exists("/proc/sys/net/ipv4/tcp_migrate_req"):
        assert not wrong, wrong[:3]
    swapped(gw.get())       # the secret, which is in no environment any more
    assert len(gw.kids("worker")) == 2 and len(gw.kids("minter")) == 1
    assert not gw.audit("worker.died"), gw.log()

    def descriptors():
        return len(os.listdir("/proc/%d/fd" % gw.pid))
    before, done = descriptors(), len(gw.audit("config.reloaded"))
    for n in range(1, 4):
        gw.signal(signal.SIGHUP)
        until("another reload", lambda: len(gw.audit("config.reloaded")) == done + n)
        until("one generation is left", lambda: len(gw.kids("worker")) == 2 and len(gw.kids("minter")) == 1)
    until("no descriptor is left behind", lambda: descriptors() == before)
    assert gw.stop() == 0


def test_drain(lab):
    gw = Gateway(lab).ready()
    slow, idle = gw.connect(), gw.connect()
    swapped(idle.get("/v1/x"))
    slow.send("/v1/slow/2")
    time.sleep(0.3)
    gw.signal(signal.SIGTERM)
    swapped(slow.receive())
    assert gw.process.wait(WAIT) == 0, gw.log()
    assert [x for x in gw.audit("exchange") if x["path"] == "/v1/slow/2" and x["status"] == 200]
    assert "worker.died" not in gw.log() and not os.path.exists(lab.dir + "/admin.sock")
    # What does not finish in time is cut, and said to be.
    gw = Gateway(lab, drain="1s").ready()
    slow = gw.connect()
    slow.send("/v1/slow/60")
    time.sleep(0.3)
    gw.signal(signal.SIGTERM)
    assert gw.process.wait(WAIT) == 0, gw.log()
    assert [x for x in gw.audit("exchange") if x["path"] == "/v1/slow/60" and x["decision"] != "deny"], gw.audit()
    # The second signal does not wait.
    gw = Gateway(lab, drain="60s").ready()
    slow = gw.connect()
    slow.send("/v1/slow/60")
    time.sleep(0.3)
    gw.signal(signal.SIGTERM)
    until("it drains", lambda: "gateway.draining" in gw.log())
    gw.signal(signal.SIGTERM)
    assert gw.process.wait(WAIT) == 0, gw.log()


def test_children_ignore_the_group_s_signals(lab):
    gw = Gateway(lab).ready()
    kids = gw.kids("worker") + gw.kids("minter")
    for pid in kids:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
    swapped(gw.get())
    assert sorted(gw.kids("worker") + gw.kids("minter")) == sorted(kids)
    assert gw.stop() == 0


def test_audit_file(lab):
    gw = Gateway(lab).ready()
    swapped(gw.get("/v1/before"))
    until("the first line", lambda: [x for x in gw.audit("exchange") if x["path"] == "/v1/before"])
    os.rename(gw.audit_file, gw.audit_file + ".1")
    gw.signal(signal.SIGUSR1)
    until("a new file", lambda: os.path.exists(gw.audit_file))
    swapped(gw.get("/v1/after"))
    until("the line in the new file", lambda: [x for x in gw.audit("exchange") if x["path"] == "/v1/after"])
    assert os.stat(gw.audit_file).st_mode & 0o777 == 0o640
    gw.stop()
    os.unlink(gw.audit_file + ".1")
    # A full disk stops nothing.
    gw = Gateway(lab, audit="/dev/full").ready()
    for _ in range(3):
        swapped(gw.get())
    until("losses are counted", lambda: gw.counter("audit_lost_total") >= 4)
    assert gw.log().count("audit.write_failed") == 1
    assert gw.stop() == 0


def test_other_sources(lab):
    os.makedirs(lab.dir + "/certs", exist_ok=True)
    for ext in ("crt", "key"):
        shutil.copy("%s/ca.%s" % (lab.dir, ext), "%s/certs/interception.%s" % (lab.dir, ext))
    with open(lab.dir + "/tokens.json", "w") as f:
        json.dump({DUMMY: {"real": CANARY, "hosts": ["api.test"]}, "plain-dummy": "plain-real-value"}, f)
    gw = Gateway(lab, env={"TOKENS_JSON": lab.dir + "/tokens.json", "CERT_PATH": lab.dir + "/certs"},
                 dummy="another-dummy", real='{ exec: [/bin/echo, "another-real-value"] }').ready()
    swapped(gw.get())
    assert "names no hosts" in gw.log()
    gw.signal(signal.SIGHUP)
    until("it reloads", lambda: gw.audit("config.reloaded"))
    swapped(gw.get())
    assert gw.stop() == 0
    # A secret without a value refuses what needs it, and nothing else.
    gw = Gateway(lab, real="{ env: NOT_THERE }").ready()
    status, body = gw.get()
    assert status in (502, 503) and json.loads(body)["error"]["reason"] == "unresolved_secret", (status, body)
    assert gw.get(host="a.wild.test")[0] == 200
    assert gw.stop() == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default="build/bin")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("skip - processes of a real gateway: needs root for network namespaces")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    lab = Lab(os.path.abspath(args.bin))
    passed = failed = 0
    for name, fn in list(globals().items()):
        if not name.startswith("test_") or (args.names and name[5:] not in args.names):
            continue
        try:
            fn(lab)
            passed += 1
            print("ok - process: " + name[5:].replace("_", " "), flush=True)
        except Exception as e:
            failed += 1
            print("not ok - process: %s: %s: %s" % (name[5:].replace("_", " "), type(e).__name__, e), flush=True)
            import traceback
            traceback.print_exc()
            try:
                with open(lab.dir + "/gateway.log", errors="replace") as f:
                    print("".join("# " + x for x in f.read()[-6000:].splitlines(True)), flush=True)
            except OSError:
                pass
        for p in lab.children[1:]:
            if p.poll() is None:
                p.kill()
            p.wait()
        del lab.children[1:]
    lab.close()
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
