"""`xlli view` as a command: serve until it is interrupted, and open the browser."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser

from xlli_ray.report.view_server.server import ViewServer
from xlli_ray.report.view_server.shown_study import ShownStudy
from xlli_ray.terminal import say


def view(place: str, port: int = 0, *, browser: bool = True) -> None:
    """Serve the study at `place` until Ctrl-C, and print its link. `browser`: open it there, too.

    Raises StudyError if there is no study, EnvironmentFailure if the port cannot be had.
    """
    shown = ShownStudy(place)
    server = ViewServer(shown, port)
    try:
        say("reading the study and drawing its figures: seconds, or a minute for a large one", sys.stderr)
        shown.page()  # now, not while a browser waits in front of an empty window
        say(f"view: {server.link} (Ctrl-C ends it)")
        sys.stdout.flush()
        if browser and _has_windows():
            threading.Thread(target=webbrowser.open, args=(server.link_once,), daemon=True).start()
        server.serve_forever()
    except KeyboardInterrupt:
        say("ended")
    finally:
        server.server_close()


def _has_windows() -> bool:
    """Whether a browser would open as a window: without one, `webbrowser` may take the terminal for a text browser."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
