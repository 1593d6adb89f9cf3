"""stage.py - where the benchmark plays: namespaces, certificates, bodies, client and upstream

   agent (198.18.1.2) -- gateway (198.18.1.1 | 198.18.2.1) -- internet (198.18.2.2)

The proxy has one CPU, client and upstream share another. No namespace has a way out of the machine.
close() removes everything, also after an exception or a signal. Standard library only.
"""
import atexit
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
AGENT, GATEWAY_IN, GATEWAY_OUT, INTERNET = "198.18.1.2", "198.18.1.1", "198.18.2.1", "198.18.2.2"
HOST, WILDCARD = "up.bench.test", "*.bench.test"
PORT = 8443  # where a proxy listens
MIB = 1 << 20

# Of different lengths, so that a body's length changes when it is rewritten.
DUMMY = "sk-dummy-0a1b2c3d4e5f60718293a4b5c6d7e8f9"
REAL = "sk-live-7c1e9d20b35f4a68bf0d4e2a91c6"
REDACTED = "[REDACTED]"


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*argv, check=True, **kw):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, **kw)
    if check and done.returncode:
        raise RuntimeError("%s: %s" % (" ".join(map(str, argv)),
                                       (done.stderr or done.stdout).strip()))
    return done


def wait_for(condition, what, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited %d s for %s" % (seconds, what))
        time.sleep(0.05)


def children(pid):
    """The process and all below it."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            for task in os.listdir("/proc/%d/task" % pid):
                with open("/proc/%d/task/%s/children" % (pid, task)) as f:
                    todo += map(int, f.read().split())
        except OSError:
            pass
    return found


def text_like_json(n, token):
    """n bytes as an API would send them, with the token once; no other secret-like word is rare."""
    r = random.Random(n)
    words = ("the model returned a list of choices with role assistant content tool call name "
             "arguments token usage prompt completion error retry stream delta reason").split()
    out = ""
    while len(out) < n:
        out += json.dumps({"id": "msg_%08x" % r.getrandbits(32), "index": r.randrange(100),
                           "content": " ".join(r.choice(words) for _ in range(40)),
                           "hint": "sk-%06x" % r.getrandbits(24), "p": r.random()}) + ",\n"
    at = n // 3
    return out[:at] + token + out[at + len(token):n]


class Stage:
    def __init__(self):
        self.tag = "slpb%d" % os.getpid()
        self.agent, self.gateway, self.internet = (self.tag + s for s in ("-a", "-g", "-i"))
        self.processes = []
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise SystemExit("bench: needs two CPUs, one for the proxy and one for its peers")
        self.proxy_cpu, self.peer_cpu = cpus[0], cpus[1]
        self.dir = tempfile.mkdtemp(prefix=self.tag + "-")
        os.chmod(self.dir, 0o755)
        atexit.register(self.close)
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, lambda n, f: sys.exit(128 + n))

    def build(self):
        say("bench: building client and upstream, certificates, namespaces")
        os.sched_setaffinity(0, {self.peer_cpu})
        for name in ("load", "serve"):
            run("cc", "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE", "-o", self.path(name),
                *(os.path.join(HERE, f) for f in (name + ".c", "wire.c")), "-lssl", "-lcrypto")
        self._certificates()
        self._bodies()
        self._namespaces()
        server = self.spawn(self.internet, self.peer_cpu, self.path("serve"), INTERNET,
                            self.path("up.crt"), self.path("up.key"), self.dir, DUMMY, REAL,
                            stdout=subprocess.PIPE, text=True)
        if server.stdout.readline().strip() != "ready":
            raise RuntimeError("the upstream did not start")

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w") as f:
            f.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    # --- building ---------------------------------------------------------------------------
    def _certificates(self):
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        for ca in ("internet", "interception"):
            run("openssl", "req", "-x509", *curve, "-keyout", self.path(ca + ".key"), "-out",
                self.path(ca + ".crt"), "-days", "2", "-subj", "/CN=bench " + ca,
                "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        extensions = self.write("leaf.ext", "subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth\n"
                                "keyUsage=critical,digitalSignature\n"
                                "basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\n"
                                "authorityKeyIdentifier=keyid\n" % WILDCARD)
        # up: the upstream's; fixed: for proxies that do not mint
        for leaf, ca in (("up", "internet"), ("fixed", "interception")):
            run("openssl", "req", "-new", *curve, "-keyout", self.path(leaf + ".key"), "-out",
                self.path(leaf + ".csr"), "-subj", "/CN=" + WILDCARD)
            run("openssl", "x509", "-req", "-in", self.path(leaf + ".csr"), "-CA",
                self.path(ca + ".crt"), "-CAkey", self.path(ca + ".key"), "-days", "2", "-out",
                self.path(leaf + ".crt"), "-extfile", extensions, "-set_serial", time.time_ns())
        self.join("both.crt", "internet.crt", "interception.crt")
        self.join("fixed.pem", "fixed.crt", "fixed.key")
        self.join("interception.pem", "interception.key", "interception.crt")

    def join(self, name, *parts):
        return self.write(name, "".join(open(self.path(p)).read() for p in parts), 0o600)

    def _bodies(self):
        self.write("1k", text_like_json(1024, REAL))
        self.write("100k", text_like_json(100 << 10, REAL))
        self.write("block", text_like_json(MIB, REAL))
        # A real token in a request is a leak, which is refused: uploads carry the dummy.
        self.write("upload", text_like_json(MIB, DUMMY))

    def _namespaces(self):
        for ns in (self.agent, self.gateway, self.internet):
            run("ip", "netns", "add", ns)
            run("ip", "-n", ns, "link", "set", "lo", "up")
            for key, value in (("net.ipv4.ip_local_port_range", "10000 65000"),
                               ("net.ipv4.tcp_tw_reuse", "1"), ("net.core.somaxconn", "4096")):
                self.inside(ns, "sysctl", "-qw", "%s=%s" % (key, value))
        for inner, ns, outer in (("agent0", self.agent, "in0"), ("net0", self.internet, "out0")):
            run("ip", "link", "add", inner, "netns", ns, "type", "veth", "peer", "name", outer,
                "netns", self.gateway)
        for ns, device, address in ((self.agent, "agent0", AGENT), (self.gateway, "in0", GATEWAY_IN),
                                    (self.gateway, "out0", GATEWAY_OUT),
                                    (self.internet, "net0", INTERNET)):
            run("ip", "-n", ns, "addr", "add", address + "/24", "dev", device)
            run("ip", "-n", ns, "link", "set", device, "up")
        run("ip", "-n", self.agent, "route", "add", "default", "via", GATEWAY_IN)
        run("ip", "-n", self.internet, "route", "add", "default", "via", GATEWAY_OUT)

    # --- capture for proxies that do not bring their own ------------------------------------
    def forward(self, on):
        self.inside(self.gateway, "sysctl", "-qw", "net.ipv4.ip_forward=%d" % on)

    def capture(self, how):
        """how: tproxy (original addresses kept) or redirect (NAT)."""
        if how == "tproxy":
            rules = ("type filter hook prerouting priority mangle;\niifname in0 tcp dport 443 "
                     "tproxy to :%d meta mark set 1 accept" % PORT)
            run("ip", "-n", self.gateway, "rule", "add", "fwmark", "1", "lookup", "100")
            run("ip", "-n", self.gateway, "route", "add", "local", "default", "dev", "lo",
                "table", "100")
        else:
            rules = ("type nat hook prerouting priority dstnat;\n"
                     "iifname in0 tcp dport 443 redirect to :%d" % PORT)
        self.inside(self.gateway, "nft", "-f", "-",
                    input="table ip bench {\nchain capture {\n%s\n}\n}\n" % rules)

    def release(self):
        self.inside(self.gateway, "nft", "delete", "table", "ip", "bench", check=False)
        run("ip", "-n", self.gateway, "rule", "del", "fwmark", "1", check=False)
        run("ip", "-n", self.gateway, "route", "flush", "table", "100", check=False)
        self.forward(False)

    # --- running ----------------------------------------------------------------------------
    def inside(self, ns, *argv, check=True, **kw):
        return run("ip", "netns", "exec", ns, *argv, check=check, **kw)

    def spawn(self, ns, cpu, *argv, **kw):
        p = subprocess.Popen([str(a) for a in ("ip", "netns", "exec", ns, "taskset", "-c", cpu)
                              + argv], **kw)
        self.processes.append(p)
        return p

    def listening(self, port):
        return self.inside(self.gateway, "ss", "-Hltn", "sport = :%d" % port).stdout.strip() != ""

    def curl(self, path, *argv):
        """Verified like any program would; returns the body."""
        return self.inside(self.agent, "curl", "-sS", "--fail", "--http1.1", "--max-time", "20",
                           "--cacert", self.path("both.crt"), "--resolve",
                           "%s:443:%s" % (HOST, INTERNET), "-H", "Authorization: Bearer " + DUMMY,
                           *argv, "https://%s%s" % (HOST, path)).stdout

    def end(self, process):
        """Ends a process and whatever it left behind."""
        if process.poll() is not None:
            return
        family = children(process.pid)
        process.terminate()
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in family[1:]:
            try:
                if os.readlink("/proc/%d/ns/net" % pid) != os.readlink("/proc/self/ns/net"):
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def close(self):
        if not os.path.isdir(self.dir):
            return
        for p in reversed(self.processes):
            self.end(p)
        for ns in (self.agent, self.gateway, self.internet):
            run("ip", "netns", "del", ns, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)
