"""lab.py - three network namespaces, an internet with servers, and the gateway between

   agent (198.18.1.2, fd00:1::2) -- gateway (198.18.1.1 | 198.18.2.1) -- internet (198.18.2.2, fd00:2::2)

No namespace has a way out of the machine. Everything made here is removed by close(), which also runs on
exceptions and signals. Standard library only.
"""
import atexit
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
A4, GA4, GI4, I4 = "198.18.1.2", "198.18.1.1", "198.18.2.1", "198.18.2.2"
A6, GA6, GI6, I6 = "fd00:1::2", "fd00:1::1", "fd00:2::1", "fd00:2::2"
AGENT_UID = 65534

DUMMY = "sk-dummy-0a1b2c3d4e5f60718293a4b5c6d7e8f9"
REAL = "sk-live-CANARY9d2e7b1af04c4e8f8a7b6c5d4e3f"
GIT_DUMMY = "ghp_dummy000000000000000000000000000000"
GIT_REAL = "ghp_CANARYq8Xw2Lk5Rt9Yz3Vb7Nm1Pc4Sd6Ff0Gh"

CONFIG = """\
version: 1
gateway:
  workers: {workers}
  agent_interfaces: [sl-ga]
  dns: {{ upstream: ["{i4}"] }}
  admin: {{ unix: {dir}/admin.sock, listen: 127.0.0.1:9901 }}
  audit: {{ file: {dir}/audit.jsonl }}
  limits: {{ flows: {flows}, idle: {idle}, head: {head}, connect: {connect}, first_byte: {first_byte}, header_bytes: 64KiB }}
tls:
  ca: {{ certificate: {dir}/mitm.crt, key: {dir}/mitm.key }}
  upstream_trust: {dir}/inet.crt
identity: {{ mtls: off }}
agents:
  - name: coder
    sources: [198.18.1.0/24, "fd00:1::/64"]
secrets:
  - name: api
    dummy: {dummy}
    real: {{ file: {dir}/real-api }}
    hosts: [api.test, v6.test]
    surfaces: [header, query, path, body]
  - name: git
    dummy: {git_dummy}
    real: {{ file: {dir}/real-git }}
    hosts: [git.test]
egress:
  default: deny
  allow_special: [198.18.0.0/15, "fd00:2::/64"]
  rules:
    - allow: {{ hosts: [api.test], paths: ["/private/**"], methods: [GET], name: private-read-only }}
    - deny: {{ hosts: [api.test], paths: ["/private/**", "/forbidden/**"] }}
    - allow: {{ hosts: [api.test, other.test, git.test, v6.test, "*.wild.test", plain.test], ports: [443, 8443, 80] }}
    - allow: {{ hosts: [expired.test, wrongname.test, selfsigned.test, refused.test, nowhere.test, inside.test], ports: [443, 444] }}
    - passthrough: {{ hosts: [pinned.test] }}
    - allow: {{ addresses: [198.18.2.2/32], ports: [2525], protocol: tcp }}
{extra}"""


def run(*argv, check=True, **kw):
    argv = [str(a) for a in argv]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, **kw)
    if check and done.returncode:
        raise RuntimeError("%s: exit status %d: %s" % (" ".join(argv), done.returncode, done.stderr.strip()))
    return done


def why_not():
    """The reason why a lab cannot be built here, or None."""
    if os.geteuid() != 0:
        return "needs root (network namespaces)"
    probe = "slp%d-probe" % os.getpid()
    made = run("ip", "netns", "add", probe, check=False)
    if made.returncode:
        return "cannot make network namespaces: " + made.stderr.strip()
    run("ip", "netns", "del", probe, check=False)
    return None


class Lab:
    def __init__(self, bindir, tag=None, keep=False, **config):
        self.bin = os.path.abspath(bindir)
        self.tag = tag or "slp%d" % os.getpid()
        self.a, self.g, self.i = (self.tag + s for s in ("-a", "-g", "-i"))
        self.dir = tempfile.mkdtemp(prefix=self.tag + "-")
        os.chmod(self.dir, 0o755)
        self.processes, self.keep, self.gateway = [], keep, None
        self.settings = dict(dir=self.dir, i4=I4, dummy=DUMMY, git_dummy=GIT_DUMMY, workers=1, flows=4096,
                             idle="60s", head="10s", connect="5s", first_byte="60s", extra="")
        self.settings.update(config)
        atexit.register(self.close)
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, lambda n, f: sys.exit(128 + n))
        try:
            self._namespaces()
            self._pki()
            self._git()
            self._internet()
            self.write_config()
        except BaseException:
            self.close()
            raise

    # --- building ------------------------------------------------------------------------------
    def _namespaces(self):
        for ns in (self.a, self.g, self.i):
            run("ip", "netns", "add", ns)
            run("ip", "-n", ns, "link", "set", "lo", "up")
        run("ip", "link", "add", "sl-a", "netns", self.a, "type", "veth", "peer", "name", "sl-ga", "netns", self.g)
        run("ip", "link", "add", "sl-i", "netns", self.i, "type", "veth", "peer", "name", "sl-gi", "netns", self.g)
        for ns, dev, v4, v6 in ((self.a, "sl-a", A4, A6), (self.g, "sl-ga", GA4, GA6),
                                (self.g, "sl-gi", GI4, GI6), (self.i, "sl-i", I4, I6)):
            run("ip", "-n", ns, "addr", "add", v4 + "/24", "dev", dev)
            run("ip", "-n", ns, "addr", "add", v6 + "/64", "dev", dev, "nodad")
            run("ip", "-n", ns, "link", "set", dev, "up")
        for ns, v4, v6 in ((self.a, GA4, GA6), (self.i, GI4, GI6)):
            run("ip", "-n", ns, "route", "add", "default", "via", v4)
            run("ip", "-n", ns, "-6", "route", "add", "default", "via", v6)
        # The agent asks a name server that does not exist: whatever answers is the gateway.
        for ns, server in ((self.a, "192.0.2.53"), (self.g, I4), (self.i, I4)):
            os.makedirs("/etc/netns/" + ns, exist_ok=True)
            with open("/etc/netns/%s/resolv.conf" % ns, "w") as f:
                f.write("nameserver %s\noptions timeout:2 attempts:1\n" % server)

    def _ca(self, name, subject):
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", self.path(name + ".key"), "-out", self.path(name + ".crt"), "-days", "30",
            "-subj", "/CN=" + subject, "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def leaf(self, name, sans, ca="inet", expired=False):
        ext = self.path(name + ".ext")
        with open(ext, "w") as f:
            f.write("subjectAltName=%s\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\n"
                    "basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\n"
                    "authorityKeyIdentifier=keyid\n" % sans)
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", self.path(name + ".key"), "-out", self.path(name + ".csr"), "-subj", "/CN=" + name)
        sign = ["openssl", "x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.path(ca + ".crt"),
                "-CAkey", self.path(ca + ".key"), "-out", self.path(name + ".crt"),
                "-extfile", ext, "-set_serial", str(time.time_ns())]
        if not expired:
            run(*sign, "-days", "30")
        elif run(*sign, "-not_before", "20200101000000Z", "-not_after", "20200201000000Z", check=False).returncode:
            run(*sign, "-days", "-1")  # OpenSSL before 3.4 has no dates, but takes this

    def _pki(self):
        self._ca("inet", "lab internet CA")
        self._ca("mitm", "lab interception CA")
        self._ca("foreign", "lab unknown CA")
        self.leaf("good", "DNS:api.test,DNS:other.test,DNS:git.test,DNS:v6.test,DNS:*.wild.test,DNS:pinned.test,"
                          "DNS:plain.test,DNS:inside.test,IP:%s,IP:%s" % (I4, I6))
        self.leaf("expired", "DNS:expired.test", expired=True)
        self.leaf("wrongname", "DNS:somebody-else.test")
        self.leaf("selfsigned", "DNS:selfsigned.test", ca="foreign")
        for name, value in (("real-api", REAL), ("real-git", GIT_REAL)):
            with open(self.path(name), "w") as f:
                f.write(value + "\n")
            os.chmod(self.path(name), 0o600)
        good = ("api.test", "other.test", "git.test", "v6.test", "*.wild.test", "pinned.test", "inside.test")
        names = {
            "default": "api.test", "greeting": REAL,
            "tls": dict({n: "good" for n in good},
                        **{n + ".test": n for n in ("expired", "wrongname", "selfsigned")}),
            "dns": dict({n: [I4] for n in good + ("plain.test", "expired.test", "wrongname.test",
                                                  "selfsigned.test", "denied.test", "refused.test")},
                        **{"v6.test": [I6], "inside.test": ["10.1.2.3"],
                           "api.test": [I4, I6]}),
        }
        with open(self.path("names.json"), "w") as f:
            json.dump(names, f)

    def _git(self):
        work, bare = self.path("work"), self.path("git/project.git")
        env = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_AUTHOR_NAME="lab", GIT_AUTHOR_EMAIL="lab@lab.test",
                   GIT_COMMITTER_NAME="lab", GIT_COMMITTER_EMAIL="lab@lab.test")
        run("git", "init", "-q", "-b", "main", work, env=env)
        with open(os.path.join(work, "README"), "w") as f:
            f.write("a private repository\n")
        with open(os.path.join(work, "data.bin"), "wb") as f:
            f.write(os.urandom(3 << 20))
        run("git", "-C", work, "add", ".", env=env)
        run("git", "-C", work, "commit", "-qm", "first", env=env)
        run("git", "clone", "-q", "--bare", work, bare, env=env)
        with open(self.path("git.auth"), "w") as f:
            f.write("Basic " + base64.b64encode(("agent:" + GIT_REAL).encode()).decode())

    def _internet(self):
        p = self.spawn(self.i, sys.executable, os.path.join(HERE, "upstream.py"), self.dir, I4, I6,
                       stdout=subprocess.PIPE, text=True)
        if p.stdout.readline().strip() != "ready":
            raise RuntimeError("the lab's internet did not start")

    def write_config(self, name="slapenir.yaml", **changes):
        text = CONFIG.format(**dict(self.settings, **changes))
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    # --- running -------------------------------------------------------------------------------
    def path(self, name):
        return os.path.join(self.dir, name)

    def put(self, name, text):
        """A raw answer for the upstream's /raw?file=name."""
        with open(self.path("raw-" + name), "wb") as f:
            f.write(text.encode("latin-1"))

    def sanitized(self):
        with open(os.path.join(self.bin, "slapenir-gateway"), "rb") as f:
            return b"__asan_init" in f.read()

    def spawn(self, ns, *argv, **kw):
        p = subprocess.Popen(["ip", "netns", "exec", ns] + [str(a) for a in argv], **kw)
        self.processes.append(p)
        return p

    def netpolicy(self, *argv, check=True):
        return run("ip", "netns", "exec", self.g, os.path.join(self.bin, "netpolicy"), *argv,
                   "--config", self.path("slapenir.yaml"), check=check)

    def start_gateway(self, wait=True, env=None, prefix=()):
        self.log = open(self.path("gateway.log"), "ab")
        self.gateway = self.spawn(self.g, *prefix, os.path.join(self.bin, "slapenir-gateway"), "--config",
                                  self.path("slapenir.yaml"), stdout=self.log, stderr=self.log, env=env)
        if wait:
            self.wait(lambda: self.listening() or self.gateway.poll() is not None, "the gateway to listen")
            if self.gateway.poll() is not None:
                raise RuntimeError("the gateway did not start:\n" + open(self.path("gateway.log")).read())
        return self.gateway

    def up(self):
        self.netpolicy("apply")
        self.start_gateway()
        return self

    def stop_gateway(self, sig=signal.SIGTERM):
        if self.gateway and self.gateway.poll() is None:
            self.gateway.send_signal(sig)
            self.gateway.wait(40)

    def listening(self, port=15001):
        out = run("ip", "netns", "exec", self.g, "ss", "-Hltn", "sport = :%d" % port, check=False).stdout
        return len(out.split("\n")) > 1

    @staticmethod
    def wait(condition, what, seconds=15):
        end = time.time() + seconds
        while time.time() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.05)
        raise TimeoutError("waited %ds for %s" % (seconds, what))

    def agent(self, *argv, timeout=120, check=False, **kw):
        """Runs a program in the agent's namespace as a user without rights and with a clean environment."""
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8",
               "SSL_CERT_FILE": self.path("mitm.crt"), "CURL_CA_BUNDLE": self.path("mitm.crt"),
               "GIT_SSL_CAINFO": self.path("mitm.crt"), "GIT_TERMINAL_PROMPT": "0",
               "GIT_CONFIG_GLOBAL": "/dev/null"}
        env.update(kw.pop("env", {}))
        kw.setdefault("capture_output", True)
        kw.setdefault("text", True)
        return subprocess.run(["ip", "netns", "exec", self.a, "setpriv", "--reuid=%d" % AGENT_UID,
                               "--regid=%d" % AGENT_UID, "--clear-groups", "--inh-caps=-all"]
                              + [str(a) for a in argv], timeout=timeout, check=check, env=env, **kw)

    def curl(self, *argv, **kw):
        """Returns (status, headers dict, body text, curl's exit code)."""
        out = self.agent("curl", "-sS", "-i", "--max-time", "60", *argv, text=False, **kw)
        head, body = b"", out.stdout
        while re.match(rb"HTTP/[\d.]+ ", body):
            head, _, body = body.partition(b"\r\n\r\n")
            if not re.match(rb"HTTP/[\d.]+ 1\d\d", head):
                break
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1]) if lines[0] else 0
        fields = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
        return status, fields, body.decode("utf-8", "replace"), out.returncode

    # --- looking -------------------------------------------------------------------------------
    def jsonl(self, name):
        try:
            with open(self.path(name)) as f:
                return [json.loads(x) for x in f if x.endswith("\n")]
        except FileNotFoundError:
            return []

    def received(self, contains=""):
        return [r for r in self.jsonl("received.jsonl") if contains in r.get("target", "")]

    def audit(self, contains=""):
        return [a for a in self.jsonl("audit.jsonl") if contains in json.dumps(a)]

    def audited(self, contains, **fields):
        """Lines that hold the text and these fields; waits a moment for the first (lines travel in batches)."""
        def found():
            return [a for a in self.audit(contains) if all(a[k] == v for k, v in fields.items())]
        try:
            return self.wait(found, "an audit line", 5)
        except TimeoutError:
            return []

    def pids(self, role):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    words = f.read().split(b"\0")
                same = os.readlink("/proc/%s/ns/net" % pid) == os.readlink("/proc/%d/ns/net" % self.gateway.pid)
            except OSError:
                continue
            if same and words[0].endswith(b"slapenir-gateway") and \
                    (role.encode() in words if role != "master" else b"--role" not in words):
                found.append(int(pid))
        return sorted(found)

    @staticmethod
    def rss_kb(pid):
        with open("/proc/%d/smaps_rollup" % pid) as f:
            return int(re.search(r"^Rss:\s+(\d+)", f.read(), re.M).group(1))

    # --- leaving -------------------------------------------------------------------------------
    def close(self):
        if self.keep or not os.path.isdir(self.dir):
            return
        for p in reversed(self.processes):
            if p.poll() is None:
                p.terminate()
        for p in reversed(self.processes):
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        for ns in (self.a, self.g, self.i):
            run("ip", "netns", "del", ns, check=False)
            shutil.rmtree("/etc/netns/" + ns, ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)


class Results:
    """Prints one line a check and a last line that a machine can read."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, good, detail=""):
        if good:
            self.passed += 1
            print("ok - " + name, flush=True)
        else:
            self.failed += 1
            print("not ok - %s%s" % (name, "\n    " + str(detail).replace("\n", "\n    ") if detail != "" else ""), flush=True)
        return good

    def finish(self):
        print("%d passed, %d failed" % (self.passed, self.failed), flush=True)
        return 1 if self.failed else 0
