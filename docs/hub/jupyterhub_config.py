"""JupyterHub for a workshop: a name and a password of one's own, and a container for each person.

Needs `pip install 'jupyterhub>=5,<7' dockerspawner jupyterhub-idle-culler`, configurable-http-proxy (npm), Docker, and
the image of the Dockerfile beside this file.  The people are in the file that EFIMM_HUB_PEOPLE names, one "name
password" a line; `python people.py 40 > people.txt` draws one.  Without Docker, for a try on one computer:
EFIMM_HUB_SPAWNER=simple (everybody is the same user of this computer then: for trying only).

TLS: this hub speaks HTTP, so a password can be read on the way.  Let a web server that has a certificate stand in front
of it (Caddy, nginx), or set c.JupyterHub.ssl_cert and c.JupyterHub.ssl_key.
"""

import os
from hmac import compare_digest
from pathlib import Path

from jupyterhub.auth import Authenticator

c = get_config()  # noqa: F821 - JupyterHub puts it there

people = dict(
    line.split(None, 1) for line in Path(os.environ["EFIMM_HUB_PEOPLE"]).read_text().splitlines() if line.strip()
)
people = {name.lower(): password.strip() for name, password in people.items()}
if weak := [name for name, password in people.items() if len(password) < 12]:
    raise ValueError(f"passwords of fewer than 12 characters: {', '.join(weak)}")


class OwnPassword(Authenticator):
    """Each name has its own password, so nobody becomes somebody else by typing another name."""

    async def authenticate(self, _handler: object, data: dict[str, str]) -> str | None:
        """The name where the password is its own; None else."""
        name = data["username"].lower()
        known = compare_digest(people.get(name, "").encode(), data["password"].encode())
        return name if name in people and known else None


c.JupyterHub.authenticator_class = OwnPassword
c.Authenticator.allowed_users = set(people)

c.JupyterHub.spawner_class = os.environ.get("EFIMM_HUB_SPAWNER", "docker")
c.JupyterHub.active_server_limit = len(people)
c.JupyterHub.concurrent_spawn_limit = 10
c.JupyterHub.hub_ip = "127.0.0.1" if c.JupyterHub.spawner_class == "simple" else "0.0.0.0"
c.JupyterHub.hub_connect_ip = os.environ.get("EFIMM_HUB_ADDRESS", "")
c.JupyterHub.tornado_settings = {"headers": {"Content-Security-Policy": "frame-ancestors 'self'"}}

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
    {"name": "idle-culler", "command": ["python3", "-m", "jupyterhub_idle_culler", "--timeout=7200"]},
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
