#!/usr/bin/env python3
"""The quick start of the README, run as it stands there: the commands are taken out of the file.

usage: test_quickstart.py --bin DIR

Everything happens in network, mount and process namespaces of its own, so the machine's network, /etc and /run stay
as they are and nothing outlives the test. The "internet" there is the lab's server under the README's host name.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time

from lab import HERE, Lab, Results, why_not

ROOT = os.path.dirname(os.path.dirname(HERE))
SERVER4, SERVER6 = "9.9.9.9", "fd00:9::9"     # the resolver that the README's configuration names
HOST = "api.openai.com"
REAL = "sk-live-CANARY-quickstart-5e6f7a8b9c0d"
DUMMY = "sk-dummy-openai-0000000000"
BLOCK = re.compile(r"<!-- quickstart:? ?(\w*) -->\n```sh\n(.*?)```", re.S)


def sh(script, check=True, **kw):
    """Runs a block; its output goes to a file, since what it leaves in the background keeps a pipe open."""
    with open("/run/out", "w+") as out:
        p = subprocess.run(["bash", "-eu", "-c", script], stdout=out, stderr=subprocess.STDOUT, text=True, timeout=60, **kw)
        out.seek(0)
        text = out.read()
    if check and p.returncode:
        raise RuntimeError("exit %d of:\n%s\n%s" % (p.returncode, script, text))
    return text


def internet(folder):
    """The only thing that is not in the README: a world outside."""
    lab = Lab.__new__(Lab)
    lab.dir = folder
    lab._ca("inet", "lab internet CA")
    lab.leaf("good", "DNS:" + HOST)
    with open(lab.path("names.json"), "w") as f:
        json.dump({"default": HOST, "greeting": "", "tls": {HOST: "good"},
                   "dns": {HOST: [SERVER4], "example.com": [SERVER4]}}, f)
    sh("""mount --bind %s/inet.crt /etc/ssl/certs/ca-certificates.crt
          ip link set lo up; ip netns add internet
          ip link add out type veth peer name in netns internet
          ip addr add 9.9.9.1/24 dev out; ip link set out up
          ip -n internet addr add %s/24 dev in; ip -n internet addr add %s/64 dev in nodad
          ip -n internet link set in up; ip -n internet link set lo up""" % (folder, SERVER4, SERVER6))
    p = subprocess.Popen(["ip", "netns", "exec", "internet", sys.executable, HERE + "/upstream.py", folder, SERVER4, SERVER6],
                         stdout=subprocess.PIPE, text=True)
    if p.stdout.readline().strip() != "ready":
        raise RuntimeError("the internet did not start")
    return lab


def quickstart(lab, blocks, r):
    sh(blocks["key"][0], input=REAL + "\n")
    for block in blocks[""]:
        out = sh(block)
        if "--check" in block:
            r.check("the configuration passes --check", "0 errors" in out, out)
    Lab.wait(lambda: "15001" in sh("ip netns exec gateway ss -Hltn"), "the gateway to listen")
    # What a person types in the agent's shell comes in by its standard input.
    first, second = blocks["inside"][0].strip().split("\n")
    out = sh(blocks["agent"][0], check=False, input=first.replace("curl ", "curl -sS ", 1) + "\n")
    seen = [x for x in lab.jsonl("received.jsonl") if x.get("target") == "/v1/models"]
    r.check("the upstream got the real key", seen and ["Authorization", "Bearer " + REAL] in seen[-1]["headers"], (out, seen))
    r.check("the agent did not", REAL not in out, out)
    out = sh(blocks["agent"][0], check=False, input=second + "\n")
    r.check("another name does not resolve", "Could not resolve host" in out, out)
    out = sh(blocks["agent"][0], check=False, input="cat /etc/slapenir/openai.key /etc/slapenir/certs/interception.key\n")
    r.check("the agent reads neither key", out.count("Permission denied") == 2 and REAL not in out, out)
    out = sh("ip netns exec gateway netpolicy check; echo $?", check=False)
    r.check("the kernel is as planned", out.strip().endswith("0"), out)
    sh(blocks["end"][0])
    r.check("the end leaves no namespace", sh("ip netns list").split()[::3] == ["internet"], sh("ip netns list"))


def inner(bindir):
    r = Results()
    folder = "/run/lab"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    sh("""mkdir -p %s /run/log
          cp -a /etc /run/etc && mount --bind /run/etc /etc
          mount --bind /run/log /var/log""" % folder)
    os.environ["PATH"] = bindir + ":" + os.environ["PATH"]
    with open(os.path.join(ROOT, "README.md")) as f:
        blocks = {}
        for name, text in BLOCK.findall(f.read()):
            blocks.setdefault(name, []).append(text)
    try:
        quickstart(internet(folder), blocks, r)
    except Exception:  # a broken expectation is a failure, not the end of the run
        import traceback
        r.check("quick start", False, traceback.format_exc())
    return r.finish()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bin", required=True)
    ap.add_argument("--inner", action="store_true")
    args = ap.parse_args()
    if args.inner:
        return inner(os.path.abspath(args.bin))
    reason = why_not()
    if reason:
        print("skip - quick start: " + reason)
        print("0 passed, 0 failed, 1 skipped")
        return 77
    return subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
                           os.path.abspath(__file__), "--bin", args.bin, "--inner"]).returncode


if __name__ == "__main__":
    sys.exit(main())
