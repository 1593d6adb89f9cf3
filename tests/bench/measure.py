"""measure.py - one round of figures of one variant

The proxy's own CPU time is the sum over its processes of what the scheduler counted, taken between
the moment when all connections are open and warm and the moment when the last answer is there.
Memory is the sum of proportional set sizes. Every figure is of traffic that was checked first.
"""
import json
import os
import re
import subprocess
import threading
import time

from stage import DUMMY, MIB, REAL, REDACTED, children

TOKENS = len(DUMMY), len(REAL), len(REDACTED)


class Wrong(Exception):
    """The variant did not do what is to be measured."""


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        try:
            for task in os.listdir("/proc/%d/task" % pid):
                with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
                    total += int(f.read().split()[0])
        except OSError:
            pass
    return total / 1e9


def memory(pids):
    """Bytes by process name."""
    found = {}
    for pid in pids:
        try:
            with open("/proc/%d/comm" % pid) as f:
                name = f.read().strip()
            with open("/proc/%d/smaps_rollup" % pid) as f:
                pss = int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M).group(1)) << 10
        except (OSError, AttributeError):
            continue
        found[name] = found.get(name, 0) + pss
    return found


class Peak:
    """The most memory seen while it lasts, in all and by process name."""

    def __init__(self, proxy):
        self.proxy, self.total, self.by_name, self.over = proxy, 0, {}, threading.Event()

    def look(self):
        now = memory(self.proxy.pids())
        self.total = max(self.total, sum(now.values()))
        for name, value in now.items():
            self.by_name[name] = max(self.by_name.get(name, 0), value)

    def watch(self):
        while not self.over.wait(0.1):
            self.look()

    def __enter__(self):
        self.look()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()
        self.look()


class Client:
    """load.c, held between its steps: open and warm, run, result, leave."""

    def __init__(self, stage, *options):
        self.process = stage.spawn(stage.agent, stage.peer_cpu, stage.path("load"), *options,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise Wrong("the client did not start")

    def run(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Round:
    def __init__(self, stage, variant, options, number):
        self.stage, self.variant, self.options, self.number = stage, variant, options, number
        self.figures, self.notes, self.names = {}, [], number * 100000

    def pids(self):
        return children(self.variant.root.pid) if self.variant.root else []

    def load(self, key, *options):
        """(result, the proxy's CPU seconds, memory)"""
        with Client(self.stage, *options) as client:
            time.sleep(0.2)
            with Peak(self) as peak:
                before = cpu_seconds(self.pids())
                result = client.run()
                cpu = cpu_seconds(self.pids()) - before
        if result["errors"]:
            self.notes.append("%s: %d errors beside %d answers: %s" % (
                key, result["errors"], result["n"], result["why"]))
        if not result["n"]:
            raise Wrong(key + ": no answer")
        return result, cpu, peak

    def put(self, key, value):
        self.figures[key] = value

    def put_cpu(self, key, value):
        if self.variant.root:
            self.figures[key] = value

    def loaded(self, peak):
        if not self.variant.root:
            return
        self.figures["loaded"] = max(self.figures.get("loaded", 0), peak.total)
        for name, value in peak.by_name.items():
            key = "loaded." + name
            self.figures[key] = max(self.figures.get(key, 0), value)

    # --- parts ------------------------------------------------------------------------------
    def check(self):
        """The traffic is what it should be, as curl sees it, certificates verified."""
        seen, body = self.stage.curl("/seen"), self.stage.curl("/1k")
        if seen != ("real" if self.variant.rewrites else "dummy"):
            raise Wrong("the upstream saw the token as: " + seen)
        if (REAL in body, REDACTED in body) != (not self.variant.rewrites, self.variant.rewrites):
            raise Wrong("tokens in the answer are not as they should be")
        size = int(self.stage.curl("/sink", "-T", self.stage.path("upload"), "-H", "Expect:"))
        if size != MIB + (TOKENS[1] - TOKENS[0] if self.variant.rewrites else 0):
            raise Wrong("of an upload of %d bytes the upstream received %d" % (MIB, size))

    def requests(self):
        for key, path in (("1k", "/1k"), ("100k", "/100k")):
            result, cpu, peak = self.load(key, "-p", path, "-t", DUMMY, "-c", 32,
                                          "-s", self.options.seconds)
            self.put(key + ".per_s", result["per_s"])
            self.put_cpu(key + ".us", cpu / result["n"] * 1e6)
            self.loaded(peak)

    def connections(self):
        for key, options in (("warm", ()), ("resumed", ("-R",)), ("new", ("-N", self.names))):
            result, cpu, peak = self.load(key, "-k", *options, "-t", DUMMY, "-c", 8,
                                          "-s", self.options.seconds)
            if key == "resumed" and result["resumed"] < result["n"] // 2:
                continue
            self.put(key + ".per_s", result["per_s"])
            self.put(key + ".p50_us", result["p50_us"])
            self.put_cpu(key + ".us", cpu / result["n"] * 1e6)
            self.loaded(peak)

    def rates(self):
        for rate in self.options.rates:
            if rate > 0.7 * self.figures.get("1k.per_s", 0):
                self.notes.append("1 KB at %d/s: beyond what it can do" % rate)
                continue
            result, cpu, _ = self.load("rate", "-t", DUMMY, "-c", 32, "-r", rate,
                                       "-s", self.options.seconds)
            self.put("rate%d.p50_us" % rate, result["p50_us"])
            self.put("rate%d.p99_us" % rate, result["p99_us"])
            self.put_cpu("rate%d.us" % rate, cpu / result["n"] * 1e6)

    def bulk(self):
        mib = int(self.options.mib * self.variant.bulk)
        size, upload = mib * MIB, ("-u", self.stage.path("upload"), "-m", mib)
        for key, path, options in (("down", "/bulk/%d" % mib, ()), ("up", "/sink", upload)):
            result, cpu, peak = self.load(key, "-p", path, "-t", DUMMY, "-c", 1, "-n", 1,
                                          *options)
            if key == "down":
                less = mib * (TOKENS[1] - TOKENS[2]) if self.variant.rewrites else 0
                if result["body"] != size - less:
                    raise Wrong("a download of %d bytes brought %d" % (size, result["body"]))
            self.put(key + ".mb_s", size / 1e6 / result["seconds"])
            self.put_cpu(key + ".s_gb", cpu / (size / 1e9))
            self.put_cpu(key + ".memory", peak.total)
            for name, value in peak.by_name.items():
                self.put("%s.memory.%s" % (key, name), value)

    def idle(self):
        """Few connections first, so that what the first ones cost is not counted."""
        few, many = 50, 500
        with Client(self.stage, "-c", few):
            time.sleep(1)
            before = sum(memory(self.pids()).values())
            with Client(self.stage, "-c", many, "-s", 0) as client:
                time.sleep(2)
                after = sum(memory(self.pids()).values())
                errors = client.run()["errors"]
        if errors:
            self.notes.append("idle: %d of %d connections failed" % (errors, many))
        else:
            self.put_cpu("idle", max(0, after - before) / many)

    def start_memory(self):
        time.sleep(0.7)
        now = memory(self.pids())
        self.put_cpu("start", sum(now.values()))
        for name, value in now.items():
            self.put("start." + name, value)

    def run(self, progress):
        parts = [("start", self.start_memory), ("check", self.check), ("requests", self.requests),
                 ("connections", self.connections), ("rates", self.rates), ("bulk", self.bulk)]
        if self.variant.root:
            parts.append(("idle", self.idle))
        for name, part in parts:
            if name not in self.options.parts:
                continue
            progress(name)
            try:
                part()
            except (Wrong, ValueError, RuntimeError) as e:
                self.notes.append("%s: not measured: %s" % (name, e))
                if name == "check":
                    return
