"""Firefox and WebKit, over the protocols that they speak themselves: no driver to install."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from glob import glob

import websocket  # Jupyter's own
from patience import PATIENCE

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
WEBKIT = shutil.which("WebKitWebDriver")
MINI = next(iter(glob("/usr/lib/*/webkit2gtk-4.*/MiniBrowser")), None)
# A script's promise, as text: both protocols would take objects apart, each in its own way.
ASK = "(async () => {{ {} }})().then(JSON.stringify, (e) => JSON.stringify({{fault: String(e)}}))"


class Browser:
    """A window: `open` a page, `run` a script in it, `act` with a pointer."""

    def run(self, script):
        """Return what the body of an async function returns."""
        found = json.loads(self.ask(ASK.format(script)) or "null")
        if isinstance(found, dict) and "fault" in found:
            raise AssertionError(found["fault"])
        return found

    def until(self, script):
        """Wait until the body of a function returns true; PATIENCE later it is a failure."""
        self.run(f"""
            const end = Date.now() + {PATIENCE * 900};
            while (!(() => {{ {script} }})()) {{
                if (Date.now() > end) throw new Error("what was waited for never came");
                await new Promise((done) => setTimeout(done, 20));
            }}""")

    def act(self, *moves):
        """Press the mouse at the first (x, y), go to the others, and let go."""
        (x, y), *rest = [[round(place) for place in move] for move in moves]
        path = [{"type": "pointerMove", "x": x, "y": y}, {"type": "pointerDown", "button": 0}]
        path += [{"type": "pointerMove", "x": x, "y": y, "duration": 50} for x, y in rest]
        path += [{"type": "pointerUp", "button": 0}]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}}
        self.perform([{**mouse, "actions": path}])

    def close(self):
        """End the browser and what it has started."""
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


class Firefox(Browser):
    """Over WebDriver BiDi, on a socket that Firefox opens."""

    missing = "no Firefox here (Debian: apt install firefox-esr)" if FIREFOX is None else None

    def __init__(self, profile):
        command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile)]
        self.process = subprocess.Popen(
            [*command, "--width=1280", "--height=900", "--remote-debugging-port=0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        for line in self.process.stderr:
            if found := re.search(r"ws://\S+", line):
                break
        else:
            raise RuntimeError("Firefox ended before it opened its socket")
        address = f"{found[0].rstrip('/')}/session"
        self.socket = websocket.create_connection(address, PATIENCE, suppress_origin=True)
        self.count = 0
        self.command("session.new", capabilities={})
        [tab] = self.command("browsingContext.getTree")["contexts"]
        self.tab = tab["context"]

    def command(self, method, **parameters):
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.count:
            pass  # an event
        assert answer["type"] == "success", answer
        return answer["result"]

    def open(self, address):
        self.command("browsingContext.navigate", context=self.tab, url=address, wait="complete")

    def ask(self, expression):
        answer = self.command(
            "script.evaluate",
            expression=expression, target={"context": self.tab}, awaitPromise=True,
        )  # fmt: skip
        return answer["result"].get("value")

    def perform(self, actions):
        self.command("input.performActions", context=self.tab, actions=actions)

    def close(self):
        self.socket.close()
        super().close()


class WebKit(Browser):
    """Over WebDriver, with WebKitGTK's small browser; without a screen on a made one."""

    missing = None
    if not (WEBKIT and MINI):
        missing = "no WebKit here (Debian: apt install webkit2gtk-driver)"
    elif not (os.environ.get("DISPLAY") or shutil.which("xvfb-run")):
        missing = "no screen for WebKit here (Debian: apt install xvfb xauth)"

    def __init__(self, profile):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        made = ["xvfb-run", "-a", "-s", "-screen 0 1400x1000x24"]
        screen = [] if os.environ.get("DISPLAY") else made
        self.process = subprocess.Popen(
            [*screen, WEBKIT, f"--port={port}"], start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(profile)},
        )  # fmt: skip
        self.address = f"http://127.0.0.1:{port}/session"
        options = {"binary": MINI, "args": ["--automation"]}
        capabilities = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        session = self.command("", capabilities=capabilities)
        self.address += f"/{session['sessionId']}"
        self.command("/timeouts", script=PATIENCE * 1000, pageLoad=PATIENCE * 1000)
        self.command("/window/rect", width=1280, height=900)

    def command(self, path, **parameters):
        request = urllib.request.Request(
            self.address + path,
            json.dumps(parameters).encode(),
            {"Content-Type": "application/json"},
        )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                    return json.load(answer)["value"]
            except urllib.error.HTTPError as error:
                raise AssertionError(error.read().decode()) from error
            except urllib.error.URLError:  # it does not listen yet
                assert self.process.poll() is None, "WebKitWebDriver ended"
                assert time.monotonic() < end, "WebKitWebDriver does not answer"
                time.sleep(0.1)

    def open(self, address):
        self.command("/url", url=address)

    def ask(self, expression):
        script = f"const done = arguments[0]; {expression}.then(done);"
        return self.command("/execute/async", script=script, args=[])

    def perform(self, actions):
        self.command("/actions", actions=actions)
