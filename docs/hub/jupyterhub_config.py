"""JupyterHub for a workshop: a name of one's own, one password for the room, a container for each person.

Needs `pip install 'jupyterhub>=5' dockerspawner`, configurable-http-proxy (npm), Docker, and the image of the
Dockerfile beside this file.  The password is in the environment: EFIMM_HUB_PASSWORD.  Without Docker, for a try on one
computer: EFIMM_HUB_SPAWNER=simple (everybody is the same user then: for trying only).
"""

import os

c = get_config()  # noqa: F821 - JupyterHub puts it there

c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["EFIMM_HUB_PASSWORD"]
c.Authenticator.allow_all = True

c.JupyterHub.spawner_class = os.environ.get("EFIMM_HUB_SPAWNER", "docker")
c.DockerSpawner.image = os.environ.get("EFIMM_HUB_IMAGE", "efimm")
c.DockerSpawner.remove = True  # nothing stays of a person's container; say so before the workshop
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = os.environ.get("EFIMM_HUB_ADDRESS", "")

# One kernel and the server: 120 MB for the hungriest notebook and 160 MB for JupyterLab, measured in November 2026.
c.Spawner.mem_limit = "512M"
c.Spawner.cpu_limit = 1.0
c.Spawner.default_url = "/lab/tree/00-start-here.ipynb"
c.Spawner.start_timeout = 120
c.Spawner.notebook_dir = os.environ.get("EFIMM_HUB_NOTEBOOKS", "/home/jovyan/efimm/notebooks")

# People leave without logging out.
c.JupyterHub.services = (
    [
        {
            "name": "idle-culler",
            "command": ["python3", "-m", "jupyterhub_idle_culler", "--timeout=7200"],
        }
    ]
    if os.environ.get("EFIMM_HUB_CULL")
    else []
)
c.JupyterHub.load_roles = (
    [
        {
            "name": "idle-culler",
            "services": ["idle-culler"],
            "scopes": ["list:users", "read:users:activity", "admin:servers"],
        }
    ]
    if os.environ.get("EFIMM_HUB_CULL")
    else []
)
