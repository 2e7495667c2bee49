"""The dashboard's server: Voila for one machine and one room, with a token, and with an end to everything it starts.

Who can reach the port could run code as us, were it not for three checks: the token (in the address that is printed),
the Host header (a foreign name that leads here, DNS rebinding, is refused) and the Origin of a websocket.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.ioloop import IOLoop
from tornado.web import HTTPError
from traitlets import Int
from traitlets.config import Config
from voila.app import Voila

NOTEBOOK = Path(__file__).with_name("dashboard.ipynb")
IDLE, LOOK = 600, 60  # seconds: a kernel without a page is ended after so long; how often that is looked at

# What a page may load.  Nothing comes from elsewhere, whatever Voila's template asks for.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        # Voila's template starts itself by scripts in the page; JupyterLab's settings are checked by code that ajv
        # compiles; anywidget imports a widget's module from a blob.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline' blob:",  # the theme, and the styles of our widgets
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' ws://localhost:* ws://127.0.0.1:*",  # older browsers do not count a websocket as 'self'
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",  # the token's form
        "frame-ancestors 'self'",
    )
)


class FewKernels(AsyncMappingKernelManager):
    """Kernels, each for one page, and no more than `most`."""

    most = Int(8, config=True, help="How many kernels run at a time: each takes some 100 MB.")
    _starting = 0

    async def start_kernel(self, **settings: Any) -> str:  # type: ignore[override]  # releases differ in what they name
        """Start one more; 503 where there are enough."""
        if len(self) + self._starting >= self.most:
            words = f"{self.most} pages are open: close one, or come back in {IDLE // 60} minutes"
            raise HTTPError(503, reason=words)  # which the page shows, and the log leaves out
        self._starting += 1
        try:
            return await super().start_kernel(**settings)
        finally:
            self._starting -= 1


def without_token(record: logging.LogRecord) -> bool:
    """Take the token out of what is logged of a request, whoever logs it: its address is told whole."""
    record.msg, record.args = re.sub(r"token=[^\s&'\"]+", "token=...", record.getMessage()), ()
    return True


class Server(Voila):  # type: ignore[misc]  # Voila has no types
    """Voila, which can be told to end before it serves as well."""

    def initialize(self, argv: list[str] | None = None) -> None:
        """Make ready: from here on a signal ends the loop, even before it has begun."""
        self.ioloop = IOLoop.current()  # Voila sets it last, and its handler of SIGTERM asks for it
        super().initialize(argv)
        for name in ("access", "application", "general"):
            logging.getLogger(f"tornado.{name}").addFilter(without_token)
        signal.signal(signal.SIGINT, self._handle_signal_stop)


def settings() -> Config:
    """What is Voila's to be set, beside the port."""
    made = Config()
    made.Voila.auto_token = True
    made.Voila.root_dir = str(NOTEBOOK.parent)
    made.Voila.tornado_settings = {
        "headers": {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Referrer-Policy": "same-origin"},
        "allow_remote_access": False,  # a Host that is neither a loopback address nor in the list is refused
        "local_hostnames": ["localhost"],
    }
    made.VoilaConfiguration.show_tracebacks = True
    made.VoilaConfiguration.multi_kernel_manager_class = FewKernels
    made.MappingKernelManager.cull_idle_timeout = IDLE
    made.MappingKernelManager.cull_interval = LOOK
    made.MappingKernelManager.cull_connected = False  # a page on the projector may stand still for an hour
    return made


def main() -> None:
    """Serve until a signal comes; the command line is Voila's."""
    os.chdir(NOTEBOOK.parent)  # Voila executes a voila.py that lies where it is started
    Server.launch_instance(argv=[str(NOTEBOOK), *sys.argv[1:]], config=settings())


if __name__ == "__main__":
    main()
