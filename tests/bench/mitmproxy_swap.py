"""mitmproxy_swap.py - for mitmproxy: dummy to real in requests, real to [REDACTED] in answers

Both are streamed, and what could be the beginning of a token is held back, as the gateway does.
"""
import os

DUMMY, REAL, REDACTED = (os.environ["SWAP_" + n].encode() for n in ("DUMMY", "REAL", "REDACTED"))


def swapper(old, new):
    held = b""

    def swap(data):
        nonlocal held
        if not data:  # the end
            rest, held = held, b""
            return rest
        data = (held + data).replace(old, new)
        keep = next((n for n in range(min(len(old) - 1, len(data)), 0, -1)
                     if data.endswith(old[:n])), 0)
        held = data[len(data) - keep:]
        return data[:len(data) - keep]
    return swap


def chunked(message):
    if "content-length" in message.headers:
        del message.headers["content-length"]
        message.headers["transfer-encoding"] = "chunked"


class Swap:
    def requestheaders(self, flow):
        for name, value in list(flow.request.headers.items(multi=True)):
            if DUMMY.decode() in value:
                flow.request.headers[name] = value.replace(DUMMY.decode(), REAL.decode())
        if flow.request.headers.get("content-length", "0") != "0":
            chunked(flow.request)
            flow.request.stream = swapper(DUMMY, REAL)

    def responseheaders(self, flow):
        chunked(flow.response)
        flow.response.stream = swapper(REAL, REDACTED)


addons = [Swap()]
