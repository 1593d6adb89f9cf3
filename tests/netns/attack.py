"""attack.py - what the promises are tried with: an upstream that obeys no rule, agents with raw sockets, a capture

All of it runs inside the test's own process: a socket belongs to the namespace it was made in, so only making it
needs to enter one. Standard library only.
"""
import contextlib
import ctypes
import os
import re
import select
import socket
import ssl
import struct
import threading
import time

from lab import A4, A6, CONFIG, GI4, GI6, I4, I6, Lab

B4 = "198.18.1.3"           # a second agent's address
EVIL, EVIL12, EVIL_PLAIN = 9443, 9444, 9080
UNDER = {"api": "sk-live-CANARY9d2e7b1af04c4e8f8a7b6c5d4e3f", "git": "ghp_CANARYq8Xw2Lk5Rt9Yz3Vb7Nm1Pc4Sd6Ff0Gh",
         "short": "sk-CANARY1", "long": "sk-CANARY1-and-longer-CANARY-2", "longest": "sk-CANARY1-and-longer-CANARY-2.and_on",
         "overlap": "CANARYCANARYX", "bad": "sk-bad-CANARY-for-hosts-that-do-not-verify", "mine": "sk-mine-CANARY-of-one-agent"}
DUMMIES = {n: "dummy-of-%s-00000000" % n for n in ("short", "long", "longest", "overlap", "bad", "mine")}
BAD_HOSTS = ["expired.test", "wrongname.test", "selfsigned.test", "cnonly.test", "client.test", "iponly.test", "leafca.test"]

SECRET = """\
  - {{ name: {name}, dummy: {dummy}, real: {{ file: {dir}/real-{name} }}, hosts: [{hosts}]{more} }}
"""


@contextlib.contextmanager
def sockets_in(ns):
    """Sockets made in this block belong to that namespace, wherever they are used later."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home, open("/run/netns/" + ns) as there:
        if libc.setns(there.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if libc.setns(home.fileno(), 0x40000000):
                os._exit(3)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class AttackLab(Lab):
    """The lab with more secrets, a second agent, and hosts whose certificates are wrong in every way."""

    def __init__(self, bindir, **config):
        self.audit_file = None
        super().__init__(bindir, **config)
        from lab import run
        run("ip", "-n", self.a, "addr", "add", B4 + "/24", "dev", "sl-a")
        self.evil = Evil(self)

    def _pki(self):
        super()._pki()
        import json
        with open(self.path("names.json")) as f:
            names = json.load(f)
        self.leaf("client", "DNS:client.test")
        self.leaf("iponly", "IP:" + I4)
        self.leaf("noname", "email:x@cnonly.test")
        # A leaf that plays CA: signed by the good CA, but not one itself.
        self.leaf("leafca", "DNS:leafca.test", ca="good")
        with open(self.path("leafca.crt"), "a") as f:
            f.write(open(self.path("good.crt")).read())
        self._client_only()
        for host in BAD_HOSTS[3:]:
            names["dns"][host] = [I4]
        with open(self.path("names.json"), "w") as f:
            json.dump(names, f)
        for name, value in UNDER.items():
            if name not in ("api", "git"):
                with open(self.path("real-" + name), "w") as f:
                    f.write(value + "\n")
                os.chmod(self.path("real-" + name), 0o600)

    def _client_only(self):
        from lab import run
        with open(self.path("client.ext")) as f:
            ext = f.read().replace("serverAuth", "clientAuth")
        with open(self.path("client.ext"), "w") as f:
            f.write(ext)
        run("openssl", "x509", "-req", "-in", self.path("client.csr"), "-CA", self.path("inet.crt"), "-CAkey",
            self.path("inet.key"), "-days", 30, "-out", self.path("client.crt"), "-extfile", self.path("client.ext"),
            "-set_serial", str(time.time_ns()))

    def write_config(self, name="slapenir.yaml", **changes):
        text = CONFIG.format(**dict(self.settings, **changes))
        more = "".join(SECRET.format(name=n, dummy=DUMMIES[n], dir=self.dir, hosts="api.test",
                                     more=", surfaces: [header, body]") for n in ("short", "long", "longest", "overlap"))
        more += SECRET.format(name="bad", dummy=DUMMIES["bad"], dir=self.dir, hosts=", ".join(BAD_HOSTS), more="")
        more += SECRET.format(name="mine", dummy=DUMMIES["mine"], dir=self.dir, hosts="api.test", more=", agents: [coder]")
        text = text.replace("egress:\n", more + "egress:\n")
        text = text.replace('sources: [198.18.1.0/24, "fd00:1::/64"]',
                            'sources: [%s/32, "fd00:1::/64"]\n  - name: second\n    sources: [%s/32]' % (A4, B4))
        text = text.replace("  rules:\n", "  rules:\n    - allow: { hosts: [api.test, other.test], ports: [%d, %d, %d] }\n"
                            "    - allow: { hosts: [%s], ports: [443, %d] }\n"
                            % (EVIL, EVIL12, EVIL_PLAIN, ", ".join(BAD_HOSTS), EVIL))
        if self.audit_file:
            text = text.replace("audit: { file: %s/audit.jsonl }" % self.dir, "audit: { file: %s }" % self.audit_file)
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def reload(self, **changes):
        done, failed = len(self.audit("config.reloaded")), len(self.audit("config.reload_failed"))
        self.write_config(**changes)
        self.gateway.send_signal(1)
        self.wait(lambda: len(self.audit("config.reloaded")) > done or
                  len(self.audit("config.reload_failed")) > failed, "the reload", 30)
        # Only the new generation's workers are left.
        self.wait(lambda: len(self.pids("worker")) == self.settings["workers"], "old workers to leave", 30)

    def close(self):
        if getattr(self, "evil", None):
            self.evil.close()
        super().close()


# --- the upstream ------------------------------------------------------------------------------------------------

class Evil:
    """Answers with whatever bytes it was told, in whatever pieces; remembers every byte it was sent."""

    def __init__(self, lab):
        self.lab, self.scripts, self.seen, self.listeners = lab, {}, [], []
        self.lock = threading.Lock()
        self.connections, self.partial = 0, []     # partial: requests that broke off
        contexts = {n: self.context(c) for n, c in
                    [("*", "good")] + [(h, {"cnonly.test": "noname"}.get(h, h[:-5])) for h in BAD_HOSTS]}
        for port, maximum in ((EVIL, None), (EVIL12, ssl.TLSVersion.TLSv1_2), (EVIL_PLAIN, False)):
            for ip in (I4, I6):
                with sockets_in(lab.i):
                    s = socket.socket(family_of(ip), socket.SOCK_STREAM)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((ip, port))
                s.listen(512)
                self.listeners.append(s)
                threading.Thread(target=self.accept, args=(s, port, contexts, maximum), daemon=True).start()

    def context(self, cert, maximum=None):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(self.lab.path(cert + ".crt"), self.lab.path(cert + ".key"))
        return c

    def accept(self, s, port, contexts, maximum):
        front = None
        if maximum is not False:
            front = self.context("good")
            if maximum:
                front.maximum_version = maximum

            def choose(sock, name, _):
                sock.sni_seen = name or ""
                if name in contexts:
                    sock.context = contexts[name]
            front.sni_callback = choose
        while True:
            try:
                conn, _ = s.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(conn, port, front), daemon=True).start()

    def serve(self, conn, port, context):
        conn.settimeout(60)
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += 1
        sni = ""
        with contextlib.suppress(OSError, ValueError):
            if context:
                conn = context.wrap_socket(conn, server_side=True)
                sni = getattr(conn, "sni_seen", "")
            buf = b""
            while True:
                request, buf = self.read_request(conn, buf, sni, port)
                if not request:
                    break
                with self.lock:
                    self.seen.append((sni, port, request))
                target = request.split(b" ", 2)[1].decode("latin-1")
                keep = self.answer(conn, target)
                if keep is not True:
                    break
        with contextlib.suppress(OSError, ValueError):
            if context:
                conn.settimeout(2)
                conn.unwrap()
        conn.close()

    def broke_off(self, sni, port, data):
        with self.lock:
            self.partial.append((sni, port, data))
        return b"", b""

    def read_request(self, conn, buf, sni, port):
        while b"\r\n\r\n" not in buf:
            data = conn.recv(65536)
            if not data:
                return self.broke_off(sni, port, buf) if buf else (b"", b"")
            buf += data
        head, _, rest = buf.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
        if length:
            need = int(length.group(1))
            while len(rest) < need:
                data = conn.recv(65536)
                if not data:
                    return self.broke_off(sni, port, head + b"\r\n\r\n" + rest)
                rest += data
            return head + b"\r\n\r\n" + rest[:need], rest[need:]
        if re.search(rb"\r\ntransfer-encoding:", head, re.I):
            while b"0\r\n\r\n" not in rest:
                data = conn.recv(65536)
                if not data:
                    return self.broke_off(sni, port, head + b"\r\n\r\n" + rest)
                rest += data
            body, _, rest = rest.partition(b"0\r\n\r\n")
            return head + b"\r\n\r\n" + body, rest
        return head + b"\r\n\r\n", rest

    def answer(self, conn, target):
        """/split/KEY/N in two pieces (/once/KEY/N: and then the end); /ones/KEY byte by byte; /run/KEY calls a function."""
        parts = target.partition("?")[0].strip("/").split("/")
        script = self.scripts.get(parts[1]) if len(parts) > 1 else None
        if parts[0] == "run":
            return script(conn)
        if parts[0] in ("split", "once", "ones"):
            n = int(parts[2]) if len(parts) > 2 else 0
            pieces = [script[:n], script[n:]] if parts[0] != "ones" else [script[i:i + 1] for i in range(len(script))]
            for piece in pieces:
                if piece:
                    conn.sendall(piece)
            return parts[0] != "once" and b"connection: close" not in script.lower()
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
        return True

    def canaries(self):
        """Every request that held a real token, as (sni, port, bytes)."""
        with self.lock:
            return [x for x in self.seen + self.partial if b"CANARY" in x[2]]

    def close(self):
        for s in self.listeners:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()


# --- agents --------------------------------------------------------------------------------------------------------

def raw(lab, address, port, source=None, timeout=20):
    with sockets_in(lab.a):
        s = socket.socket(family_of(address), socket.SOCK_STREAM)
    s.settimeout(timeout)
    try:
        if source:
            s.bind((source, 0))
        s.connect((address, port))
    except BaseException:
        s.close()
        raise
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


CONTEXTS = {}


def agent_context(lab, maximum=None):
    key = (lab.dir, maximum)
    if key not in CONTEXTS:
        CONTEXTS[key] = ssl.create_default_context(cafile=lab.path("mitm.crt"))
        if maximum:
            CONTEXTS[key].maximum_version = maximum
    return CONTEXTS[key]


def tls(lab, name="api.test", port=443, address=I4, maximum=None, source=None, sni=True):
    s = raw(lab, address, port, source)
    try:
        context = agent_context(lab, maximum)
        if not sni:
            context = ssl.create_default_context(cafile=lab.path("mitm.crt"))
            context.check_hostname = False
        return context.wrap_socket(s, server_hostname=name if sni else None)
    except BaseException:
        s.close()
        raise


class Cut(Exception):
    """The connection ended before the answer did."""


class Answer:
    """One response read to its end: `raw` is every byte of it, `body` without framing."""

    def __init__(self, sock, buf=b"", method="GET"):
        self.sock, self.raw = sock, buf
        while b"\r\n\r\n" not in self.raw:
            self.more()
        self.head, _, rest = self.raw.partition(b"\r\n\r\n")
        self.status = int(self.head.split(b" ", 2)[1])
        fields = self.head.lower()
        length = re.search(rb"\r\ncontent-length: *(\d+)", fields)
        self.trailers, self.extra = b"", b""
        self.keep = b"connection: close" not in fields
        if method == "HEAD" or self.status in (204, 304):
            self.body, self.extra = b"", rest
        elif b"\r\ntransfer-encoding: chunked" in fields:
            self.chunked(len(self.head) + 4)
        elif length:
            end = len(self.head) + 4 + int(length.group(1))
            while len(self.raw) < end:
                self.more()
            self.body, self.extra = self.raw[len(self.head) + 4:end], self.raw[end:]
        else:
            with contextlib.suppress(Cut):
                while True:
                    self.more()
            self.body = self.raw[len(self.head) + 4:]

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise Cut(self.raw[:300])
        self.raw += data

    def line(self, at):
        while b"\r\n" not in self.raw[at:]:
            self.more()
        end = self.raw.index(b"\r\n", at)
        return self.raw[at:end], end + 2

    def chunked(self, at):
        pieces = []
        while True:
            size, at = self.line(at)
            n = int(size.split(b";")[0], 16)
            if n == 0:
                break
            while len(self.raw) < at + n + 2:
                self.more()
            pieces.append(self.raw[at:at + n])
            at += n + 2
        start = at
        while True:
            text, at = self.line(at)
            if not text:
                break
        self.body, self.trailers, self.extra = b"".join(pieces), self.raw[start:at], self.raw[at:]


class Keep:
    """A keep-alive client: opens a connection when it has none."""

    def __init__(self, lab, **how):
        self.lab, self.how, self.sock = lab, how, None

    def get(self, target, version="1.1", host="api.test", more=""):
        if not self.sock:
            self.sock = tls(self.lab, **self.how) if self.how.get("port") != EVIL_PLAIN else \
                raw(self.lab, I4, EVIL_PLAIN)
        self.sock.sendall(("GET %s HTTP/%s\r\nHost: %s\r\n%s\r\n" % (target, version, host, more)).encode("latin-1"))
        answer = Answer(self.sock)
        if not answer.keep or version == "1.0":
            self.close()
        return answer

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None


def ask(lab, request, name="api.test", port=443, plain=False, **how):
    """Sends bytes on a fresh connection and reads all that comes, to the end; b"" when it was refused or reset."""
    got = b""
    try:
        s = raw(lab, how.pop("address", I4), port, how.get("source")) if plain else tls(lab, name, port, **how)
    except (OSError, ssl.SSLError):
        return got
    with s:
        try:
            s.sendall(request if isinstance(request, bytes) else request.encode("latin-1"))
        except (OSError, ssl.SSLError):
            pass            # the answer may be there all the same
        try:
            s.settimeout(10)
            while True:
                data = s.recv(65536)
                if not data:
                    break
                got += data
        except (OSError, ssl.SSLError):
            pass
    return got


# --- the capture -----------------------------------------------------------------------------------------------------

class Capture:
    """Every packet on the gateway's outer interface; `allowed` says which may be there."""

    def __init__(self, lab, dns_names, ports, kept=(80, 443, 8443, 2525, EVIL, EVIL12, EVIL_PLAIN)):
        self.dns, self.ports, self.kept, self.addresses = set(dns_names), set(ports), set(kept), (I4, I6)
        self.bad, self.count, self.stop = [], 0, False
        with sockets_in(lab.g):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUFFORCE if hasattr(socket, "SO_RCVBUFFORCE") else 33, 64 << 20)
        self.sock.bind(("sl-gi", 3))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            ready, _, _ = select.select([self.sock], [], [], 0.2)
            if not ready:
                if self.stop:
                    return
                continue
            data, address = self.sock.recvfrom(65536)
            self.count += 1
            # What comes in from outside is the internet's business; what goes out is ours.
            if address[2] == socket.PACKET_OUTGOING and not self.allowed(address[1], data):
                self.bad.append((address[1], data[:96]))

    def allowed(self, kind, data):
        if kind == 0x0806:
            return True
        if kind == 0x0800 and len(data) >= 20:
            source, to, proto = socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20]), data[9]
            if struct.unpack(">H", data[6:8])[0] & 0x3fff:
                return False
            rest, own = data[(data[0] & 15) * 4:], GI4
        elif kind == 0x86dd and len(data) >= 40:
            source, to = (socket.inet_ntop(socket.AF_INET6, data[a:a + 16]) for a in (8, 24))
            proto, rest, own = data[6], data[40:], GI6
            # Neighbour discovery and MLD are the kernel's own.
            if proto == 58 and rest[0] in (133, 135, 136):
                return True
            if proto == 0 and rest[0] == 58 and rest[8] in (131, 132, 143):
                return True
        else:
            return False
        if source != own or to not in self.addresses:
            return False
        port = struct.unpack(">H", rest[2:4])[0]
        if proto == 6:
            # Connections that were open before may end; a new one needs leave.
            return port in self.ports or (port in self.kept and not rest[13] & 2)
        return proto == 17 and port == 53 and self.question(rest[8:]) in self.dns

    @staticmethod
    def question(packet):
        labels, at = [], 12
        try:
            while packet[at]:
                labels.append(packet[at + 1:at + 1 + packet[at]].decode("latin-1"))
                at += packet[at] + 1
        except IndexError:
            return None
        return ".".join(labels).lower()

    def end(self):
        """What should not have been there."""
        self.stop = True
        self.thread.join()
        stats = self.sock.getsockopt(263, 6, 8)  # SOL_PACKET, PACKET_STATISTICS
        self.lost = struct.unpack("=II", stats)[1]
        self.sock.close()
        return self.bad
