"""variants.py - what is measured: no proxy, the gateway, and the proxies that are installed

Each has start() and stop(); root is the proxy's first process. rewrites: tokens are swapped both
ways; mints: a certificate is made for each new name.
"""
import os
import re
import shutil
import subprocess

from stage import DUMMY, GATEWAY_OUT, HERE, INTERNET, PORT, REAL, REDACTED, WILDCARD, run, wait_for


class Variant:
    name = about = None
    rewrites = mints = False
    program = None  # what must be installed
    bulk = 1  # what part of the bulk it is given: the slow ones would take minutes
    port = PORT

    def __init__(self, stage, bindir):
        self.stage, self.bin, self.root = stage, bindir, None

    def why_not(self):
        if self.program and not shutil.which(self.program):
            return self.program + " is not installed"
        return None

    def version(self):
        return ""

    def start(self):
        self.log = open(self.stage.path(self.name + ".log"), "ab")
        self.root = self.stage.spawn(self.stage.gateway, self.stage.proxy_cpu, *self.command(),
                                     stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
                                     env=self.environment())
        wait_for(lambda: self.root.poll() is not None or self.stage.listening(self.port),
                 self.name + " to listen", 30)
        if self.root.poll() is not None:
            raise RuntimeError("%s did not start: %s" % (self.name, self.said()))
        self.intercept()

    def said(self):
        with open(self.stage.path(self.name + ".log"), errors="replace") as f:
            return f.read()[-800:].strip()

    def command(self):
        raise NotImplementedError

    def environment(self):
        return None

    def intercept(self):
        self.stage.capture("tproxy")

    def stop(self):
        if self.root:
            self.stage.end(self.root)
            self.log.close()
        self.root = None
        self.stage.release()


class Direct(Variant):
    name, about = "direct", "no proxy, packets forwarded"

    def start(self):
        self.stage.forward(True)


class Slapenir(Variant):
    name, about = "slapenir", "TPROXY, mints, rewrites; one worker"
    rewrites = mints = True
    port = 15001

    CONFIG = """\
version: 1
gateway:
  workers: 1
  agent_interfaces: [in0]
  dns: {{ upstream: ["{internet}"] }}
  admin: {{ unix: {dir}/admin.sock, listen: off }}
  audit: {{ file: {dir}/audit.jsonl }}
tls:
  ca: {{ certificate: {dir}/interception.crt, key: {dir}/interception.key }}
  upstream_trust: {dir}/internet.crt
identity: {{ mtls: off }}
agents:
  - {{ name: bench, sources: [198.18.1.0/24] }}
secrets:
  - name: bench
    dummy: {dummy}
    real: {{ file: {dir}/real }}
    hosts: ["{hosts}"]
    surfaces: [header, query, path, body]
egress:
  default: deny
  allow_special: [198.18.0.0/15]
  rules:
    - allow: {{ hosts: ["{hosts}"] }}
"""

    def why_not(self):
        for program in ("slapenir-gateway", "netpolicy"):
            if not os.path.exists(os.path.join(self.bin, program)):
                return "no %s in %s: ./dev build, or --bin" % (program, self.bin)
        return None

    def version(self):
        return run(os.path.join(self.bin, "slapenir-gateway"), "--version").stdout.strip()

    def start(self):
        self.stage.write("real", REAL + "\n", 0o600)
        self.stage.write("slapenir.yaml", self.CONFIG.format(
            dir=self.stage.dir, internet=INTERNET, dummy=DUMMY, hosts=WILDCARD))
        super().start()

    def command(self):
        return (os.path.join(self.bin, "slapenir-gateway"), "--config",
                self.stage.path("slapenir.yaml"))

    def netpolicy(self, verb):
        self.stage.inside(self.stage.gateway, os.path.join(self.bin, "netpolicy"), verb,
                          "--config", self.stage.path("slapenir.yaml"))

    def intercept(self):
        self.netpolicy("apply")

    def stop(self):
        started = self.root
        super().stop()
        if started:
            self.netpolicy("remove")


class Haproxy(Variant):
    name, about = "haproxy", "TPROXY, TLS both sides; one fixed certificate, no rewriting"
    program = "haproxy"

    CONFIG = """\
global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 10s
  timeout client 300s
  timeout server 300s
  http-reuse always
frontend agents
  bind 0.0.0.0:{port} transparent ssl crt {dir}/fixed.pem alpn http/1.1
  default_backend origin
backend origin
  server origin 0.0.0.0:0 ssl verify required ca-file {dir}/internet.crt sni req.hdr(host) alpn http/1.1
"""

    def version(self):
        return run("haproxy", "-v").stdout.split("\n")[0]

    def command(self):
        config = self.stage.write("haproxy.cfg", self.CONFIG.format(port=PORT, dir=self.stage.dir))
        return ("haproxy", "-db", "-f", config)


class Mitmproxy(Variant):
    name, about = "mitmproxy", "NAT redirect, mints, rewrites by an add-on"
    program = "mitmdump"
    rewrites = mints = True
    bulk = 1 / 8

    def version(self):
        found = re.search(r"Mitmproxy: *(\S+)", run("mitmdump", "--version").stdout)
        return "mitmproxy " + (found.group(1) if found else "?")

    def command(self):
        os.makedirs(self.stage.path("mitmproxy"), exist_ok=True)
        shutil.copy(self.stage.path("interception.pem"),
                    self.stage.path("mitmproxy/mitmproxy-ca.pem"))
        return ("mitmdump", "-q", "--mode", "transparent", "--listen-port", PORT,
                "--set", "confdir=" + self.stage.path("mitmproxy"), "--set", "flow_detail=0",
                "--set", "ssl_verify_upstream_trusted_ca=" + self.stage.path("internet.crt"),
                "-s", os.path.join(HERE, "mitmproxy_swap.py"))

    def environment(self):
        return dict(os.environ, SWAP_DUMMY=DUMMY, SWAP_REAL=REAL, SWAP_REDACTED=REDACTED)

    def intercept(self):
        self.stage.capture("redirect")


class Squid(Variant):
    name, about = "squid", "NAT redirect, mints, no rewriting"
    program = "squid"
    mints = True
    bulk = 1 / 8

    CONFIG = """\
https_port {port} intercept ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=64MB tls-cert={dir}/squid/ca.pem
http_port 127.0.0.1:3128
sslcrtd_program {helper} -s {dir}/squid/certificates -M 16MB
sslcrtd_children 2 startup=1 idle=1
acl first at_step SslBump1
ssl_bump peek first
ssl_bump bump all
tls_outgoing_options cafile={dir}/internet.crt
http_access allow all
cache deny all
cache_mem 8 MB
access_log none
cache_log {dir}/squid/log
netdb_filename none
pid_filename {dir}/squid/pid
coredump_dir {dir}/squid
dns_nameservers {internet}
pinger_enable off
max_filedescriptors 16384
shutdown_lifetime 1 second
visible_hostname {gateway}
"""
    HELPER = "/usr/lib/squid/security_file_certgen"

    def why_not(self):
        missing = super().why_not()
        if not missing and not os.path.exists(self.HELPER):
            missing = "this squid cannot open TLS (squid-openssl can)"
        return missing

    def version(self):
        return run("squid", "-v").stdout.split("\n")[0]

    def command(self):
        folder = self.stage.path("squid")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        shutil.copy(self.stage.path("interception.pem"), folder)
        os.rename(os.path.join(folder, "interception.pem"), os.path.join(folder, "ca.pem"))
        run(self.HELPER, "-c", "-s", os.path.join(folder, "certificates"), "-M", "16MB")
        run("chown", "-R", "proxy:proxy", folder)
        config = self.stage.write("squid.conf", self.CONFIG.format(
            port=PORT, dir=self.stage.dir, helper=self.HELPER, internet=INTERNET,
            gateway=GATEWAY_OUT))
        return ("squid", "-N", "-f", config)

    def intercept(self):
        self.stage.capture("redirect")


ALL = (Direct, Slapenir, Haproxy, Squid, Mitmproxy)
