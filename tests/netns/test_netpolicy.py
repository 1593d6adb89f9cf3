#!/usr/bin/env python3
"""netpolicy against the real kernel, in network namespaces of its own.

    agent (a0) ---- (g0) gateway (o0) ---- (n0) net

Runs as root: python3 tests/netns/test_netpolicy.py --bin DIR. No address outside these namespaces is contacted, and
they are removed in the end, also when interrupted. Ends with "N passed, N failed"; exit status 1 on failure.
"""
import argparse
import atexit
import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

TAG = "npt%d" % os.getpid()
AGENT, GATEWAY, NET = TAG + "a", TAG + "g", TAG + "n"
A4, G4, A6, G6 = "172.30.7.2", "172.30.7.1", "fd00:30:7::2", "fd00:30:7::1"
FOREIGN4, FOREIGN6 = "203.0.113.9", "2001:db8::9"
PORT, DNS_PORT = 15001, 15053
IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
IP_RECVORIGDSTADDR, IPV6_RECVORIGDSTADDR = 20, 74
QUIET = 1.0     # how long to wait for what must not come

CONFIG = """version: 1
gateway:
  agent_interfaces: [%s]
agents:
  - name: coder
    sources: [172.30.7.0/25, "fd00:30:7::/64", 10.1.0.0/25, 10.1.0.128/26]
egress: { default: deny, rules: [] }
"""


def run(*cmd, ok=True, **kw):
    p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=60, **kw)
    if ok and p.returncode:
        raise AssertionError("%s: exit %d: %s%s" % (" ".join(cmd), p.returncode, p.stdout, p.stderr))
    return p


def inside(ns, *cmd, **kw):
    return run("ip", "netns", "exec", ns, *cmd, **kw)


@contextlib.contextmanager
def sockets_in(ns):
    """Sockets made in this block belong to network namespace `ns`, wherever they are used later."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open("/run/netns/" + ns) as there:
        if libc.setns(there.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if libc.setns(home.fileno(), 0x40000000):
                os._exit(3)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def transparent(s, family):
    if family == socket.AF_INET:
        s.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    else:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)


def any_address(family):
    return "0.0.0.0" if family == socket.AF_INET else "::"


@contextlib.contextmanager
def acceptor(family, port=PORT):
    with sockets_in(GATEWAY):
        s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    transparent(s, family)
    s.bind((any_address(family), port))
    s.listen(16)
    with s:
        yield s


@contextlib.contextmanager
def plain_service(family, kind, port):
    """What runs on a gateway besides: an ssh, an admin port."""
    with sockets_in(GATEWAY):
        s = socket.socket(family, kind)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((any_address(family), port))
    if kind == socket.SOCK_STREAM:
        s.listen(16)
    with s:
        yield s


def readable(s, seconds):
    return bool(select.select([s], [], [], seconds)[0])


def agent_socket(family, kind=socket.SOCK_STREAM, proto=0):
    with sockets_in(AGENT):
        return socket.socket(family, kind, proto)


def dial(address, port, seconds=5.0, source=None):
    s = agent_socket(family_of(address))
    s.settimeout(seconds)
    try:
        if source:
            s.bind((source, 0))
        s.connect((address, port))
    except OSError:
        s.close()
        raise
    return s


def outcome(address, port, seconds=QUIET, source=None):
    try:
        dial(address, port, seconds, source).close()
        return "connected"
    except socket.timeout:
        return "silence"
    except OSError as e:
        return os.strerror(e.errno)


class World:
    """The namespaces, and netpolicy's verbs in the gateway's."""

    def __init__(self, bindir):
        self.dir = tempfile.mkdtemp(prefix=TAG)
        os.chmod(self.dir, 0o755)
        # A copy: a user without rights may not be able to reach the build folder.
        self.netpolicy = shutil.copy(os.path.join(bindir, "netpolicy"), self.dir)
        self.config = self.write("slapenir.yaml", CONFIG % "g0")

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def up(self):
        for ns in (AGENT, GATEWAY, NET):
            run("ip", "netns", "add", ns)
        run("ip", "link", "add", "a0", "netns", AGENT, "type", "veth", "peer", "name", "g0", "netns", GATEWAY)
        run("ip", "link", "add", "n0", "netns", NET, "type", "veth", "peer", "name", "o0", "netns", GATEWAY)
        for ns, dev, v4, v6 in ((AGENT, "a0", A4 + "/24", A6 + "/64"), (GATEWAY, "g0", G4 + "/24", G6 + "/64"),
                                (GATEWAY, "o0", "198.18.7.1/24", "fd00:99::1/64"),
                                (NET, "n0", "198.18.7.2/24", "fd00:99::2/64")):
            run("ip", "-n", ns, "addr", "add", v4, "dev", dev)
            run("ip", "-n", ns, "addr", "add", v6, "dev", dev, "nodad")
            run("ip", "-n", ns, "link", "set", dev, "up")
        run("ip", "-n", AGENT, "link", "set", "lo", "up")
        run("ip", "-n", AGENT, "route", "add", "default", "via", G4)
        run("ip", "-n", AGENT, "route", "add", "default", "via", G6)
        # A gateway that would route if it could: what is dropped is dropped by the policy.
        run("ip", "-n", GATEWAY, "route", "add", "default", "via", "198.18.7.2")
        run("ip", "-n", GATEWAY, "route", "add", "default", "via", "fd00:99::2")

    def down(self):
        for ns in (AGENT, GATEWAY, NET):
            run("ip", "netns", "del", ns, ok=False)
        for name in os.listdir(self.dir):
            os.unlink(os.path.join(self.dir, name))
        os.rmdir(self.dir)

    def np(self, *args, ns=GATEWAY, expect=0, config=None, **kw):
        p = inside(ns, self.netpolicy, *args, "--config", config or self.config, ok=False, **kw)
        assert p.returncode == expect, "netpolicy %s: exit %d, expected %d\n%s%s" % (
            " ".join(args), p.returncode, expect, p.stdout, p.stderr)
        return p

    def gw(self, *cmd, **kw):
        return inside(GATEWAY, *cmd, **kw).stdout

    def gw_raw(self, *cmd):
        return inside(GATEWAY, *cmd, ok=False)

    def state(self):
        """All of the kernel that netpolicy touches, without handles and counters."""
        def strip(o):
            if isinstance(o, dict):
                return {k: strip(v) for k, v in o.items() if k not in ("handle", "packets", "bytes", "metainfo")}
            return [strip(x) for x in o] if isinstance(o, list) else o
        parts = [strip(json.loads(self.gw("nft", "-j", "list", "ruleset")))]
        for v in ("-4", "-6"):
            parts.append(self.gw("ip", v, "rule"))
            for table in ("21324", "main"):
                # The kernel adds link-local routes when it is ready for them.
                routes = inside(GATEWAY, "ip", v, "route", "show", "table", table, ok=False).stdout
                parts.append([r for r in routes.splitlines() if "fe80::" not in r])
        return parts

    def generation(self):
        """The kernel's count of committed nftables transactions (NFT_MSG_GETGEN)."""
        with sockets_in(GATEWAY):
            s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        with s:
            s.send(struct.pack("=IHHIIBBH", 20, 0x0a10, 1, 1, 0, 0, 0, 0))
            data = s.recv(4096)
        assert struct.unpack_from("=HH", data, 20)[1] == 1
        return struct.unpack_from(">I", data, 24)[0]

    def sniffer(self):
        """Sees every packet that reaches `net` from the gateway."""
        with sockets_in(NET):
            s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        s.bind(("n0", 3))
        return s


def counter(w, text):
    """Packets counted by the rule that holds `text`."""
    for line in w.gw("nft", "list", "table", "inet", "slapenir").splitlines():
        if text in line and "counter packets" in line:
            return int(line.split("counter packets ")[1].split()[0])
    raise AssertionError("no rule with a counter holds " + text)


# ---- render, usage ----

def test_render_needs_no_privilege(w):
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    text = run(w.netpolicy, "render", "--config", w.config, **nobody).stdout
    assert "tproxy to :15001" in text and "# ip -6 rule add pref 100 fwmark 0x534c lookup 21324" in text
    plan = json.loads(run(w.netpolicy, "render", "--json", "--config", w.config, **nobody).stdout)
    assert [c["name"] for c in plan["chains"]] == ["prerouting", "input", "forward"]
    elements = {s["name"]: s["elements"] for s in plan["sets"]}
    assert elements["agent_interfaces"] == ["g0"]
    assert elements["agents4"] == ["10.1.0.0-10.1.0.191", "172.30.7.0/25"], elements["agents4"]


def test_render_loads_in_nft(w):
    path = w.write("render.nft", w.np("render").stdout)
    w.gw("nft", "-c", "-f", path)
    assert "slapenir" not in w.gw("nft", "list", "ruleset")


def test_usage(w):
    for args in ([], ["apply", "check"], ["fly"], ["apply", "--bogus"], ["apply", "--via", "1.2.3.4"],
                 ["route", "--via", "fd00::1"], ["route", "--via", "1.2.3"], ["route", "--dev", "a0"]):
        p = inside(GATEWAY, w.netpolicy, *args, ok=False)
        assert p.returncode == 2 and p.stderr, (args, p.returncode, p.stderr)
    assert "Usage:" in run(w.netpolicy, "--help").stdout
    assert run(w.netpolicy, "--version").stdout.startswith("netpolicy ")


def test_wrong_config(w):
    for text, word in ((CONFIG % "lo", "lo"), (CONFIG % '"a/b"', "agent_interfaces"),
                       ((CONFIG % "g0").replace("sources", "sorces"), "sources"),
                       ((CONFIG % "g0").replace("[g0]", "[g0]\n  tproxy: { mark: 0 }"), "mark"),
                       ((CONFIG % "g0").replace("[g0]", "[g0]\n  tproxy: { table: 254 }"), "table")):
        p = w.np("apply", expect=2, config=w.write("wrong.yaml", text))
        assert word in p.stderr, p.stderr
    p = w.np("render", expect=2, config="/nonexistent.yaml")
    assert "/nonexistent.yaml" in p.stderr


def test_no_privilege(w):
    p = inside(GATEWAY, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", w.netpolicy, "apply",
               "--config", w.config, ok=False)
    assert p.returncode == 1 and "CAP_NET_ADMIN" in p.stderr and p.stderr.count("\n") == 1, p.stderr
    p = inside(GATEWAY, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", w.netpolicy, "check",
               "--config", w.config, ok=False)
    assert p.returncode == 1 and "CAP_NET_ADMIN" in p.stderr, p.stderr


# ---- apply, check, remove ----

def test_apply_twice(w):
    w.gw("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    w.np("check", expect=3)
    w.np("apply")
    first = w.state()
    w.np("check")
    before = w.generation()
    w.np("apply")
    assert w.generation() == before + 1, "replacing the table is one transaction"
    assert w.state() == first
    w.np("check")
    assert w.gw("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"
    assert w.gw("sysctl", "-n", "net.ipv6.conf.o0.forwarding").strip() == "0"


def test_render_is_what_apply_does(w):
    applied, text = w.state(), w.gw("nft", "-s", "list", "table", "inet", "slapenir")
    rendered = w.np("render").stdout
    w.gw("nft", "-f", w.write("render.nft", rendered))
    assert w.state() == applied
    assert w.gw("nft", "-s", "list", "table", "inet", "slapenir") == text
    w.np("check")
    listed = [line.strip() for line in text.splitlines()]
    for rule in (r["rule"] for c in json.loads(w.np("render", "--json").stdout)["chains"] for r in c["rules"]):
        assert rule in listed, rule
    w.np("apply")


def handle(w, chain, text):
    for line in w.gw("nft", "-a", "list", "chain", "inet", "slapenir", chain).splitlines():
        if text in line:
            return line.rsplit("handle ", 1)[1]
    raise AssertionError("no rule holds " + text)


class Skip(Exception):
    pass


def flowtable_add(w):
    p = inside(GATEWAY, "nft", "add table ip fast; add flowtable ip fast f { hook ingress priority 0; devices = "
               "{ g0 }; }", ok=False)
    if "No such file" in p.stderr:
        raise Skip("this kernel has no flowtables")
    assert p.returncode == 0, p.stderr


T = ("inet", "slapenir")
DRIFTS = (
    ("a deleted drop rule", lambda w: w.gw("nft", "delete", "rule", *T, "prerouting", "handle",
                                           handle(w, "prerouting", "saddr != @agents4")),
     "ip saddr != @agents4 counter drop"),
    ("an accept in front", lambda w: w.gw("nft", "insert", "rule", *T, "prerouting", "accept"), "accept"),
    ("an accept in the forward chain", lambda w: w.gw("nft", "add", "rule", *T, "forward", "accept"), "forward"),
    ("an accept for ssh", lambda w: w.gw("nft", "insert", "rule", *T, "input", "tcp", "dport", "22", "accept"),
     "nft chain input, rule 1"),
    ("a rule moved", lambda w: (w.gw("nft", "delete", "rule", *T, "prerouting", "handle",
                                     handle(w, "prerouting", "limit rate")),
                                w.gw("nft", "add", "rule", *T, "prerouting", "limit rate 10/second burst 20 packets "
                                     "log prefix \"slapenir drop: \"")), "limit rate 10/second"),
    ("a rule doubled", lambda w: w.gw("nft", "add", "rule", *T, "prerouting", "counter", "drop"), "counter drop"),
    ("another tproxy port", lambda w: w.gw("nft", "replace", "rule", *T, "prerouting", "handle",
                                           handle(w, "prerouting", "l4proto tcp"), "meta", "l4proto", "tcp", "tproxy",
                                           "to", ":15002", "meta", "mark", "set", "0x534c", "accept"), "tproxy to :15001"),
    ("another mark", lambda w: w.gw("nft", "replace", "rule", *T, "input", "handle", handle(w, "input", "mark"),
                                    "iifname", "@agent_interfaces", "meta", "mark", "!=", "0x1", "counter", "drop"),
     "0x0000534c"),
    ("a source added", lambda w: w.gw("nft", "add", "element", *T, "agents4", "{ 10.9.0.0/16 }"), "10.9.0.0/16"),
    ("a source removed", lambda w: w.gw("nft", "delete", "element", *T, "agents6", "{ fd00:30:7::/64 }"),
     "fd00:30:7::/64"),
    ("every source added", lambda w: w.gw("nft", "add", "element", *T, "agents6",
                                          "{ ::-fd00:30:6:ffff:ffff:ffff:ffff:ffff }"), "agents6"),
    ("an interface removed", lambda w: w.gw("nft", "delete", "element", *T, "agent_interfaces", "{ g0 }"), '"g0"'),
    ("a destination removed", lambda w: w.gw("nft", "delete", "element", *T, "never4", "{ 127.0.0.0/8 }"),
     "127.0.0.0/8"),
    ("the table deleted", lambda w: w.gw("nft", "delete", "table", *T), "nft table slapenir"),
    ("the table dormant", lambda w: w.gw("nft", "add", "table", *T, "{ flags dormant; }"), "dormant"),
    ("a chain flushed", lambda w: w.gw("nft", "flush", "chain", *T, "prerouting"), "nft chain prerouting"),
    ("a policy changed", lambda w: w.gw("nft", "add", "chain", *T, "forward", "{ policy accept; }"), "policy drop"),
    ("a chain added", lambda w: w.gw("nft", "add", "chain", *T, "extra",
                                     "{ type filter hook prerouting priority -300; policy accept; }"), "extra"),
    ("a chain without a hook added", lambda w: w.gw("nft", "add", "chain", *T, "side"), "side"),
    ("a set added", lambda w: w.gw("nft", "add", "set", *T, "more", "{ type ipv4_addr; }"), "more"),
    ("an object added", lambda w: w.gw("nft", "add", "counter", *T, "c"), "stateful"),
    ("a flowtable elsewhere", lambda w: flowtable_add(w), "flowtable"),
    ("the IPv4 ip rule deleted", lambda w: w.gw("ip", "rule", "del", "pref", "100"), "ip rule (IPv4)"),
    ("the IPv6 ip rule deleted", lambda w: w.gw("ip", "-6", "rule", "del", "pref", "100"), "ip rule (IPv6)"),
    ("the mark led elsewhere", lambda w: w.gw("ip", "rule", "add", "pref", "50", "fwmark", "0x534c", "lookup", "main"),
     "pref 50"),
    ("the ip rule narrowed", lambda w: (w.gw("ip", "rule", "del", "pref", "100"),
                                        w.gw("ip", "rule", "add", "pref", "100", "fwmark", "0x534c", "iif", "g0",
                                             "lookup", "21324")), "further conditions"),
    ("the ip rule masked", lambda w: (w.gw("ip", "rule", "del", "pref", "100"),
                                      w.gw("ip", "rule", "add", "pref", "100", "fwmark", "0x534c/0xffff",
                                           "lookup", "21324")), "0xffff"),
    ("the IPv4 route deleted", lambda w: w.gw("ip", "route", "flush", "table", "21324"), "route (IPv4)"),
    ("the IPv6 route deleted", lambda w: w.gw("ip", "-6", "route", "flush", "table", "21324"), "route (IPv6)"),
    ("a route added to the table", lambda w: w.gw("ip", "route", "add", "203.0.113.0/24", "via", "198.18.7.2",
                                                  "table", "21324"), "203.0.113.0/24"),
    ("lo down", lambda w: w.gw("ip", "link", "set", "lo", "down"), "link lo"),
    ("IPv4 forwarding on", lambda w: w.gw("sysctl", "-qw", "net.ipv4.ip_forward=1"), "net/ipv4/ip_forward"),
    ("IPv6 forwarding on", lambda w: w.gw("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"),
     "net/ipv6/conf/all/forwarding"),
    ("forwarding on one interface", lambda w: w.gw("sysctl", "-qw", "net.ipv4.conf.o0.forwarding=1"),
     "net/ipv4/conf/o0/forwarding"),
    ("route_localnet on", lambda w: w.gw("sysctl", "-qw", "net.ipv4.conf.g0.route_localnet=1"), "route_localnet"),
)


def drift_test(break_it, names):
    def test(w):
        w.np("apply")
        w.np("check")
        break_it(w)
        p = w.np("check", expect=3)
        assert names in p.stdout, p.stdout
        report = json.loads(w.np("check", "--json", expect=3).stdout)
        assert report["ok"] is False and len(report["drift"]) == len(p.stdout.splitlines())
        w.gw("nft", "delete table ip fast", ok=False)
        w.np("apply")
        w.np("check")
    return test


def test_rule_of_others_in_the_way(w):
    w.gw("ip", "rule", "add", "pref", "20", "lookup", "main")
    try:
        assert "pref 20" in w.np("check", expect=3).stdout
        assert "pref 20" in w.np("apply").stderr
    finally:
        w.gw("ip", "rule", "del", "pref", "20")
    w.np("check")


def test_other_tables_are_left_alone(w):
    w.gw("nft", "add table ip other; add chain ip other c; add rule ip other c counter")
    w.np("apply")
    w.np("check")
    w.np("remove")
    assert "table ip other" in w.gw("nft", "list", "ruleset")
    w.gw("nft", "delete table ip other")
    w.np("apply")


def test_counters_are_no_drift(w):
    before = w.gw("nft", "list", "chain", "inet", "slapenir", "prerouting")
    for address in (FOREIGN4, FOREIGN6):
        with agent_socket(family_of(address), socket.SOCK_DGRAM) as s:
            s.sendto(b"x", (address, 443))
            s.sendto(b"x", (address, 9999))
    assert w.gw("nft", "list", "chain", "inet", "slapenir", "prerouting") != before
    w.np("check")


def test_missing_interface(w):
    config = w.write("missing.yaml", CONFIG % "g0, eth77")
    p = w.np("apply", expect=1, config=config)
    assert "eth77" in p.stderr and p.stderr.count("error:") == 1, p.stderr
    p = w.np("check", expect=3, config=config)
    assert "interface eth77" in p.stdout and len(p.stdout.splitlines()) == 1, p.stdout
    w.np("apply")


def test_many_sources(w):
    agents = "".join("  - name: a%d\n    sources: [%s]\n" % (k, ", ".join("10.%d.%d.0/25" % (k, i) for i in range(200)))
                     for k in range(15))
    config = w.write("many.yaml", (CONFIG % "g0").replace("egress:", agents + "egress:").replace("10.1.0.0/25, 10.1.0.128/26",
                                                                                               "10.99.0.0/24"))
    w.np("apply", config=config)
    w.np("check", config=config)
    w.gw("nft", "delete", "element", *T, "agents4", "{ 10.3.7.0/25 }")
    p = w.np("check", expect=3, config=config)
    assert "10.3.7.0/25" in p.stdout and len(p.stdout.splitlines()) == 1, p.stdout
    w.np("apply")
    w.np("check")


READ_ONLY = "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec \"$@\""


def test_read_only_settings(w):
    """As in a container that may not write /proc/sys."""
    def np(verb, expect):
        p = w.gw_raw("unshare", "-m", "sh", "-c", READ_ONLY, "sh", w.netpolicy, verb, "--config", w.config)
        assert p.returncode == expect, (verb, p.returncode, p.stdout, p.stderr)
        return p
    np("apply", 0)
    w.gw("sysctl", "-qw", "net.ipv4.conf.g0.accept_redirects=1")
    assert "the rules hold without it" in np("apply", 0).stderr
    assert "note: sysctl net/ipv4/conf/g0/accept_redirects" in np("check", 0).stderr
    w.np("check", expect=3)
    w.gw("sysctl", "-qw", "net.ipv4.ip_forward=1")
    assert "net/ipv4/ip_forward: /proc/sys is read-only" in np("apply", 1).stderr
    assert "net/ipv4/ip_forward" in np("check", 3).stdout
    # Taking the rules away would leave a router: they stay.
    assert "kept" in np("remove", 1).stderr
    assert "slapenir" in w.gw("nft", "list", "ruleset")
    w.np("apply")
    w.np("check")


def test_without_ipv6(w):
    w.gw("sysctl", "-qw", "net.ipv6.conf.lo.disable_ipv6=1")
    try:
        assert "note: IPv6" in w.np("apply").stderr
        w.np("check")
        assert captured(w, FOREIGN4, 443) == (A4, (FOREIGN4, 443))
        with acceptor(socket.AF_INET6):
            assert outcome(FOREIGN6, 443) == "silence"
    finally:
        w.gw("sysctl", "-qw", "net.ipv6.conf.lo.disable_ipv6=0")
    assert "route (IPv6)" in w.np("check", expect=3).stdout
    w.np("apply")
    w.np("check")


def test_remove(w):
    w.gw("sysctl", "-qw", "net.ipv4.ip_forward=1")
    for _ in range(2):
        w.np("remove")
        assert "slapenir" not in w.gw("nft", "list", "ruleset")
        for v in ("-4", "-6"):
            assert "0x534c" not in w.gw("ip", v, "rule")
            assert not inside(GATEWAY, "ip", v, "route", "show", "table", "21324", ok=False).stdout
        assert w.gw("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"
    w.np("check", expect=3)
    w.np("apply")


# ---- packets ----

def captured(w, address, port, source=None):
    """Dials from the agent; gives what the acceptor saw: (peer address, original destination)."""
    with acceptor(family_of(address)) as s:
        with dial(address, port, source=source) as c:
            assert readable(s, 5)
            conn, peer = s.accept()
            with conn:
                conn.sendall(b"hello")
                assert c.recv(5) == b"hello"
                c.sendall(b"there")
                assert conn.recv(5) == b"there"
                return peer[0], conn.getsockname()[:2]


def test_tcp_is_captured(w):
    for address, own in ((FOREIGN4, A4), (FOREIGN6, A6), ("198.18.7.2", A4), ("fd00:99::2", A6)):
        for port in (80, 443, 53, 22, PORT):
            assert captured(w, address, port) == (own, (address, port))


def test_tcp_is_captured_under_strict_source_check(w):
    w.gw("sysctl", "-qw", "net.ipv4.conf.g0.rp_filter=1", "net.ipv4.conf.all.rp_filter=1")
    try:
        assert captured(w, FOREIGN4, 443) == (A4, (FOREIGN4, 443))
    finally:
        w.gw("sysctl", "-qw", "net.ipv4.conf.g0.rp_filter=0", "net.ipv4.conf.all.rp_filter=0")


def test_replacing_keeps_flows(w):
    with acceptor(socket.AF_INET) as s, dial(FOREIGN4, 443) as c:
        conn, _ = s.accept()
        with conn:
            w.np("apply")
            c.sendall(b"still")
            assert readable(conn, 5) and conn.recv(5) == b"still"


def test_gateway_services_are_out_of_reach(w):
    for g4, family in ((G4, socket.AF_INET), (G6, socket.AF_INET6)):
        other = "198.18.7.1" if family == socket.AF_INET else "fd00:99::1"
        with plain_service(family, socket.SOCK_STREAM, 2222) as service:
            for address in (g4, other):
                # With an acceptor the flow is its, not the service's.
                assert captured(w, address, 2222)[1] == (address, 2222)
                # Without one there is no answer.
                assert outcome(address, 2222) == "silence"
            assert not readable(service, 0)
        with plain_service(family, socket.SOCK_DGRAM, 5353) as service:
            with agent_socket(family, socket.SOCK_DGRAM) as s:
                for address in (g4, other):
                    s.sendto(b"x", (address, 5353))
            assert not readable(service, QUIET)


def test_a_service_on_the_acceptors_port_gets_nothing(w):
    """A listener there that is not transparent is not ours."""
    with plain_service(socket.AF_INET, socket.SOCK_STREAM, PORT) as service:
        assert outcome(G4, PORT) == "silence"
        assert outcome(FOREIGN4, PORT) == "silence"
        assert not readable(service, 0)


def test_loopback_services_are_out_of_reach(w):
    inside(AGENT, "ip", "route", "add", "127.9.0.0/16", "via", G4, ok=False)
    with plain_service(socket.AF_INET, socket.SOCK_DGRAM, 7777) as service, \
            agent_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        before = counter(w, "@never4")
        for dst in ("127.0.0.1", "127.9.0.1", "255.255.255.255", "224.0.0.1"):
            frame_send(w, ip4(A4, dst, 17, struct.pack(">HHHH", 40000, 7777, 9, 0) + b"x"))
        assert not readable(service, QUIET)
        assert counter(w, "@never4") > before


def test_dns_is_captured(w):
    for family, address, level, option in (
            (socket.AF_INET, FOREIGN4, socket.SOL_IP, IP_RECVORIGDSTADDR),
            (socket.AF_INET6, FOREIGN6, socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR)):
        with sockets_in(GATEWAY):
            s = socket.socket(family, socket.SOCK_DGRAM)
        with s, agent_socket(family, socket.SOCK_DGRAM) as c:
            transparent(s, family)
            s.setsockopt(level, option, 1)
            s.bind((any_address(family), DNS_PORT))
            c.sendto(b"question", (address, 53))
            assert readable(s, 5)
            data, ancillary, _, peer = s.recvmsg(512, 512)
            assert data == b"question" and peer[0] == (A4 if family == socket.AF_INET else A6)
            raw = ancillary[0][2]
            assert struct.unpack_from(">H", raw, 2)[0] == 53
            host = raw[4:8] if family == socket.AF_INET else raw[8:24]
            assert socket.inet_ntop(family, host) == address
            # A fragmented one comes whole.
            c.sendto(b"q" * 3000, (address, 53))
            assert readable(s, 5) and len(s.recv(4000)) == 3000


def test_quic_is_refused(w):
    for address in (FOREIGN4, FOREIGN6):
        with agent_socket(family_of(address), socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.connect((address, 443))
            s.send(b"initial")
            try:
                s.recv(10)
                raise AssertionError("an answer")
            except ConnectionRefusedError:
                pass


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ip4(src, dst, proto, payload, fragment=0):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 4711, fragment, 64, proto, 0, socket.inet_aton(src),
                       socket.inet_aton(dst))
    return 0x0800, head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ip6(src, dst, proto, payload):
    return 0x86dd, struct.pack(">IHBB16s16s", 6 << 28, len(payload), proto, 64, socket.inet_pton(socket.AF_INET6, src),
                               socket.inet_pton(socket.AF_INET6, dst)) + payload


def syn(src, dst, port):
    """A TCP SYN whose checksum is right."""
    tcp = struct.pack(">HHIIBBHHH", 45678, port, 1, 0, 5 << 4, 2, 8192, 0, 0)
    if family_of(src) == socket.AF_INET:
        pseudo = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack(">BBH", 0, 6, len(tcp))
    else:
        pseudo = (socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst)
                  + struct.pack(">II", len(tcp), 6))
    tcp = tcp[:16] + struct.pack(">H", checksum(pseudo + tcp)) + tcp[18:]
    return (ip4 if family_of(src) == socket.AF_INET else ip6)(src, dst, 6, tcp)


def frame_send(w, packet):
    """Straight onto the wire, past the agent's own checks."""
    kind, data = packet
    mac = json.loads(w.gw("ip", "-j", "link", "show", "g0"))[0]["address"]
    own = json.loads(inside(AGENT, "ip", "-j", "link", "show", "a0").stdout)[0]["address"]
    ether = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex(own.replace(":", "")) + struct.pack(">H", kind)
    with sockets_in(AGENT):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with s:
        s.bind(("a0", 0))
        s.send(ether + data)


def test_spoofed_sources_are_dropped(w):
    w.gw("ip", "route", "add", "10.1.0.0/24", "dev", "o0")
    try:
        for family, sources, dst, rule in (
                (socket.AF_INET, ("172.30.7.200", "8.8.8.8", "127.0.0.1", "198.18.7.2"), FOREIGN4, "@agents4"),
                (socket.AF_INET6, ("fd00:30:8::2", "2001:db8::1", "fe80::77", "::1"), FOREIGN6, "@agents6"),
                # An agent's address, but of one behind another interface; the gateway's own.
                (socket.AF_INET, ("10.1.0.9", G4), FOREIGN4, "fib saddr"),
                (socket.AF_INET6, (G6,), FOREIGN6, "fib saddr")):
            with acceptor(family) as s:
                before = counter(w, rule)
                for src in sources:
                    frame_send(w, syn(src, dst, 443))
                end = time.monotonic() + QUIET
                while time.monotonic() < end:
                    assert not w.gw("ss", "-Htan", "state", "syn-recv").strip()
                assert not readable(s, 0)
                # The stack itself drops ::1 before any rule; the agent's own multicast chatter counts too.
                assert counter(w, rule) - before >= len(sources) - ("::1" in sources), rule
                # The frame has the right form: with the agent's own address it is answered.
                assert answered(w, syn(A4 if family == socket.AF_INET else A6, dst, 443))
    finally:
        w.gw("ip", "route", "del", "10.1.0.0/24", "dev", "o0")


def answered(w, packet):
    """Sends it; whether anything comes back to the agent from port 443."""
    with sockets_in(AGENT):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    with s:
        s.bind(("a0", 3))
        frame_send(w, packet)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            if readable(s, 0.1):
                data, address = s.recvfrom(2048)
                at = 20 if data[0] >> 4 == 4 else 40
                if address[2] == socket.PACKET_HOST and data[at:at + 2] == struct.pack(">H", 443):
                    return True
    return False


def drain(sniffer):
    """Packets of the agent that arrived outside."""
    mine = []
    while readable(sniffer, QUIET):
        data, address = sniffer.recvfrom(65535)
        if address[2] != socket.PACKET_HOST and address[2] != socket.PACKET_BROADCAST:
            continue
        if socket.inet_aton(A4) in data[:40] or socket.inet_pton(socket.AF_INET6, A6) in data[:40]:
            mine.append(data)
    return mine


def probe_everything(w):
    for address in (FOREIGN4, "198.18.7.2"):
        outcome(address, 443, 0.2)
        with agent_socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for port in (53, 443, 123, 9999):
                s.sendto(b"x" * 20, (address, port))
            s.sendto(b"x" * 4000, (address, 9999))
        for proto in (1, 2, 4, 17, 47, 50, 58, 132, 253):
            frame_send(w, ip4(A4, address, proto, b"\x08\0\xf7\xff\0\0\0\0" + b"x" * 32))
            frame_send(w, ip4(A4, address, proto, b"x" * 32, fragment=0x2000))
            frame_send(w, ip4(A4, address, proto, b"x" * 32, fragment=4))
        frame_send(w, syn(A4, address, 443))
    for address in (FOREIGN6, "fd00:99::2"):
        outcome(address, 443, 0.2)
        with agent_socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            for port in (53, 443, 9999):
                s.sendto(b"x" * 20, (address, port))
            s.sendto(b"x" * 4000, (address, 9999))
        for proto in (0, 41, 43, 44, 50, 58, 60, 132):
            frame_send(w, ip6(A6, address, proto, b"\x3b\0\0\0\0\0\0\0" + b"x" * 32))
        frame_send(w, syn(A6, address, 443))


def test_nothing_gets_past(w):
    """No listener at all: every probe ends at the gateway."""
    with w.sniffer() as s:
        probe_everything(w)
        leaked = drain(s)
        assert not leaked, leaked[0]
        # The same with forwarding switched on behind our back: the forward chain holds.
        w.gw("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        probe_everything(w)
        leaked = drain(s)
        assert not leaked, leaked[0]
        # And without rule and route: what was marked finds nothing.
        for v in ("-4", "-6"):
            w.gw("ip", v, "rule", "del", "pref", "100")
        with acceptor(socket.AF_INET), acceptor(socket.AF_INET6):
            probe_everything(w)
            leaked = drain(s)
            assert not leaked, leaked[0]
        # The sniffer does see what gets past when nothing is in the way.
        w.gw("nft", "delete", "table", *T)
        probe_everything(w)
        assert drain(s)
    w.np("apply")


def test_each_layer_holds_alone(w):
    with plain_service(socket.AF_INET, socket.SOCK_DGRAM, 5353) as service, w.sniffer() as s:
        for chain in ("prerouting", "input"):
            w.gw("nft", "flush", "chain", *T, chain)
            w.gw("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            with agent_socket(socket.AF_INET, socket.SOCK_DGRAM) as c:
                c.sendto(b"x", (G4, 5353))
            probe_everything(w)
            assert not readable(service, QUIET), chain
            assert not drain(s), chain
            w.np("apply")


def test_ping_is_not_answered(w):
    for address in (G4, FOREIGN4, G6):
        assert inside(AGENT, "ping", "-c", "1", "-W", "1", address, ok=False).returncode != 0


def test_a_dead_listener_drops(w):
    for address in (FOREIGN4, FOREIGN6):
        with acceptor(family_of(address)) as s:
            c = dial(address, 443)
            conn, _ = s.accept()
        # The acceptor is gone; its flow lives on, a new one finds nobody.
        with c, conn:
            assert outcome(address, 443) == "silence"
            conn.sendall(b"hello")
            assert c.recv(5) == b"hello"


def test_gateway_itself_is_not_captured(w):
    with sockets_in(NET):
        server = socket.create_server(("198.18.7.2", 8080))
    with server, acceptor(socket.AF_INET) as s:
        with sockets_in(GATEWAY):
            c = socket.socket()
        with c:
            c.settimeout(5)
            c.connect(("198.18.7.2", 8080))
            conn, peer = server.accept()
            conn.close()
            assert peer[0] == "198.18.7.1"
        assert not readable(s, 0)


def test_neighbour_discovery_lives(w):
    inside(AGENT, "ip", "-6", "neigh", "flush", "dev", "a0")
    w.gw("ip", "-6", "neigh", "flush", "dev", "g0")
    assert captured(w, FOREIGN6, 443) == (A6, (FOREIGN6, 443))


# ---- the agent's route ----

def defaults():
    return [inside(AGENT, "ip", v, "route", "show", "default").stdout for v in ("-4", "-6")]


def test_route(w):
    inside(AGENT, "ip", "route", "replace", "default", "via", "172.30.7.99")
    inside(AGENT, "ip", "route", "add", "default", "via", "172.30.7.98", "metric", "50")
    inside(AGENT, "ip", "-6", "route", "add", "default", "via", "fd00:30:7::99", "metric", "77")
    w.np("route", "--via", G4, "--via6", G6, "--dev", "a0", ns=AGENT)
    v4, v6 = defaults()
    assert v4.count("\n") == 1 and "via %s dev a0" % G4 in v4, v4
    assert v6.count("\n") == 1 and "via %s dev a0" % G6 in v6, v6
    w.np("route", "--via", G4, "--via6", G6, ns=AGENT)
    assert defaults() == [v4, v6]
    listed = json.loads(w.np("route", "--json", ns=AGENT).stdout)["default_routes"]
    assert len(listed) == 2 and G4 in listed[0] and G6 in listed[1]
    # A family that is not named has none.
    w.np("route", "--via", G4, ns=AGENT)
    assert defaults() == [v4, ""]
    p = w.np("route", "--via", G4, "--dev", "a77", ns=AGENT, expect=1)
    assert "a77" in p.stderr
    # A gateway that cannot be: closed rather than open.
    inside(AGENT, "ip", "route", "add", "default", "via", "172.30.7.99", "metric", "9")
    w.np("route", "--via", "192.0.2.1", ns=AGENT, expect=1)
    assert defaults() == ["", ""]
    w.np("route", "--via", G4, "--via6", G6, ns=AGENT)


TESTS = [
    test_render_needs_no_privilege, test_render_loads_in_nft, test_usage, test_wrong_config, test_no_privilege,
    test_apply_twice, test_render_is_what_apply_does, test_rule_of_others_in_the_way,
    test_other_tables_are_left_alone, test_counters_are_no_drift, test_missing_interface, test_many_sources,
    test_read_only_settings, test_without_ipv6, test_remove,
    test_tcp_is_captured, test_tcp_is_captured_under_strict_source_check, test_replacing_keeps_flows,
    test_gateway_services_are_out_of_reach, test_a_service_on_the_acceptors_port_gets_nothing,
    test_loopback_services_are_out_of_reach, test_dns_is_captured, test_quic_is_refused,
    test_spoofed_sources_are_dropped, test_nothing_gets_past,
    test_each_layer_holds_alone, test_ping_is_not_answered, test_a_dead_listener_drops,
    test_gateway_itself_is_not_captured, test_neighbour_discovery_lives, test_route,
]


def all_tests():
    for test in TESTS:
        yield test.__name__[5:].replace("_", " "), test
    for name, break_it, word in DRIFTS:
        yield "drift: " + name, drift_test(break_it, word)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, help="directory of the programs")
    parser.add_argument("--only", default="", help="run the tests whose name holds this")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("skip - netpolicy in network namespaces: needs root")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    world = World(args.bin)
    atexit.register(world.down)
    for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(sig, lambda *_: sys.exit(130))
    world.up()
    passed = failed = skipped = 0
    for name, test in all_tests():
        if args.only not in name:
            continue
        try:
            if test in TESTS and TESTS.index(test) > TESTS.index(test_apply_twice):
                world.np("apply")
            test(world)
            print("ok - " + name, flush=True)
            passed += 1
        except Skip as e:
            print("skip - %s: %s" % (name.replace(":", ","), e), flush=True)
            skipped += 1
        except Exception as e:
            print("not ok - %s\n    %s: %s" % (name, type(e).__name__, str(e).replace("\n", "\n    ")), flush=True)
            failed += 1
    print("%d passed, %d failed%s" % (passed, failed, ", %d skipped" % skipped if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
