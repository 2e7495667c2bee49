"""JupyterHub for a workshop: a name and a password of one's own, and a container for each person.

Needs `pip install 'jupyterhub>=5,<7' dockerspawner jupyterhub-idle-culler`, configurable-http-proxy (npm), Docker, and
the image of the Dockerfile beside this file.  The people are in the file that EFIMM_HUB_PEOPLE names, one "name
password" a line; `python people.py 40 > people.txt` draws one.  Without Docker, for a try on one computer:
EFIMM_HUB_SPAWNER=simple (everybody is the same user of this computer then: for trying only).

TLS: this hub speaks HTTP, so a password can be read on the way.  Let a web server that has a certificate stand in front
of it (Caddy, nginx), or set c.JupyterHub.ssl_cert and c.JupyterHub.ssl_key.
"""

import os
import re
import sys
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from jupyterhub.auth import Authenticator

c = get_config()  # noqa: F821 - JupyterHub puts it there


def read_people(path: Path) -> dict[str, str]:
    """The password of each name; ends the hub with one line where a line is none, or a name stands there twice."""
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        name, _, password = line.strip().partition(" ")
        if name and not re.fullmatch(r"[a-z0-9-]{1,30}", name):
            sys.exit(f"{path}:{number}: expected a name of small letters, digits and hyphens")
        if name and len(password.strip()) < 12:
            sys.exit(f"{path}:{number}: expected a password of at least 12 characters")
        if name in found:
            sys.exit(f"{path}:{number}: {name} stands there twice")
        found |= {name: password.strip()} if name else {}
    return found or sys.exit(f"{path}: expected people, one 'name password' a line")


people_file = Path(os.environ.get("EFIMM_HUB_PEOPLE") or sys.exit("EFIMM_HUB_PEOPLE: expected a file of people"))
people = read_people(people_file)


class OwnPassword(Authenticator):
    """Each name has its own password, so nobody becomes somebody else by typing another name."""

    async def authenticate(self, _handler: object, data: dict[str, str]) -> str | None:
        """The name where the password is its own; None else."""
        name = data["username"].lower()
        known = compare_digest(people.get(name, "").encode(), data["password"].encode())
        return name if known and name in people else None


c.JupyterHub.authenticator_class = OwnPassword
c.Authenticator.allowed_users = set(people)

# A hub keeps who it knows, with their cookies and tokens.  A list drawn anew is a hub of its own, so that the cookie of
# last term's person01 does not open the server of this term's.
which = sha256(people_file.read_bytes()).hexdigest()[:12]
c.JupyterHub.db_url = f"sqlite:///hub-{which}.sqlite"
c.JupyterHub.cookie_secret_file = f"hub-{which}.cookie"

c.JupyterHub.spawner_class = os.environ.get("EFIMM_HUB_SPAWNER", "docker")
c.JupyterHub.active_server_limit = int(os.environ.get("EFIMM_HUB_SERVERS", len(people)))
c.JupyterHub.concurrent_spawn_limit = 10
c.JupyterHub.hub_ip = "127.0.0.1" if c.JupyterHub.spawner_class == "simple" else "0.0.0.0"
c.JupyterHub.hub_connect_ip = os.environ.get("EFIMM_HUB_ADDRESS", "")

# Measured in November 2026: a kernel 61 to 126 MB, JupyterLab's server 160 MB.  1 GB holds the server and several
# kernels; the idle ones are ended after half an hour, the server of somebody who has left after two hours.
c.Spawner.mem_limit = "1G"
c.Spawner.cpu_limit = 1.0
c.Spawner.args = [
    "--MappingKernelManager.cull_idle_timeout=1800",
    "--MappingKernelManager.cull_interval=120",
    "--MappingKernelManager.cull_connected=True",
    "--ServerApp.terminals_enabled=False",
]
if c.JupyterHub.spawner_class == "simple":
    c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]  # this Python's, wherever the PATH leads
c.Spawner.default_url = "/lab/tree/00-start-here.ipynb"
c.Spawner.start_timeout = 120
c.Spawner.notebook_dir = os.environ.get("EFIMM_HUB_NOTEBOOKS", "/home/jovyan/efimm/notebooks")

# What only Docker can show was not tried.  A network made with `docker network create --internal efimm` has no way out.
c.DockerSpawner.image = os.environ.get("EFIMM_HUB_IMAGE", "efimm")
c.DockerSpawner.network_name = os.environ.get("EFIMM_HUB_NETWORK", "efimm")
c.DockerSpawner.remove = True  # nothing stays of a person's container; say so before the workshop
c.DockerSpawner.extra_host_config = {
    "pids_limit": 200,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}

c.JupyterHub.services = [
    {"name": "idle-culler", "command": [sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=7200"]},
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
