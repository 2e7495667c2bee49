"""The client that runs notebooks: its end, and the wake-up that an output widget took from it."""

import asyncio
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

zmq = pytest.importorskip("zmq")
pytest.importorskip("nbclient")

from jupyter_client.channels import AsyncZMQSocketChannel  # noqa: E402 - only where Jupyter is
from jupyter_client.session import Session  # noqa: E402
from nbclient.output_widget import OutputWidget  # noqa: E402

from efimm.course.export import Output  # noqa: E402


async def hears(widget_class):
    """Does a client that waits for its kernel hear it, if a widget sends something when the answer has just come?"""
    session = Session()
    kernel, socket = zmq.Context.instance().socket(zmq.DEALER), zmq.asyncio.Context.instance().socket(zmq.DEALER)
    socket.connect(f"tcp://127.0.0.1:{kernel.bind_to_random_port('tcp://127.0.0.1')}")
    channel = AsyncZMQSocketChannel(socket, session)
    widget = widget_class("comm", {"outputs": []}, SimpleNamespace(session=session, shell_channel=channel), None)
    widget.parent_header = {}
    try:
        session.send(socket, "execute_request")
        kernel.recv_multipart()
        reply = asyncio.ensure_future(channel.get_msg(timeout=3))
        await asyncio.sleep(0.1)  # now it waits
        session.send(kernel, "execute_reply")
        time.sleep(0.1)  # the answer comes while the client is busy with something else,
        widget.send({})  # such as this
        start = time.monotonic()
        assert (await reply)["msg_type"] == "execute_reply"
        return time.monotonic() - start < 2
    finally:
        kernel.close(linger=0)
        socket.close(linger=0)


def test_the_answer_that_came_before_a_widgets_message_is_heard():
    assert asyncio.run(hears(Output))


def test_nbclients_own_widget_does_not_hear_it():
    """Once it does, `Output` can go."""
    assert not asyncio.run(hears(OutputWidget))


LOOPS = """
import asyncio, json, pathlib, sys, threading
from efimm.course.export import Client, Kernels

start, starts = Client.async_start_new_kernel, threading.Event()

async def slowly(self, **options):
    starts.set()
    await asyncio.sleep(0.5)
    return await start(self, **options)

Client.async_start_new_kernel = slowly
cell = {"cell_type": "code", "id": "one", "source": "while True: pass", "outputs": [], "execution_count": None}
path = pathlib.Path("loops.ipynb")
path.write_text(json.dumps({"cells": [cell | {"metadata": {}}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
with Kernels(timeout=30) as kernels:
    found = kernels.executed([path])
    starts.wait()
try:
    next(found)
except ValueError as error:
    print(error)
"""


def test_a_kernel_that_was_being_started_ends_too(tmp_path):
    """It could not be killed yet, and nobody looked again: it ran its notebook to the end, with everybody waiting.

    Killed then, it left a traceback for Python's end: nbclient tidies up for it a second time.
    """
    done = subprocess.run([sys.executable, "-c", LOOPS], cwd=tmp_path, capture_output=True, check=False, timeout=120)
    assert b"cannot be run: " in done.stdout
    assert b"died" in done.stdout  # and not that its time was up
    assert b"Traceback" not in done.stderr, done.stderr.decode()
