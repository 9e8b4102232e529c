"""Serve the built book on 127.0.0.1 and open it in the browser."""

import sys
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HTML = Path(__file__).resolve().parents[1] / "_build" / "html"


def main(port: int = 8000) -> int:
    handler = partial(SimpleHTTPRequestHandler, directory=str(HTML))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        print(f"Port {port} is not free ({error.strerror}): make serve PORT={port + 1}")
        return 1
    address = f"http://127.0.0.1:{server.server_port}/"
    print(f"The book is at {address}  (Ctrl-C to stop)", flush=True)
    webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
