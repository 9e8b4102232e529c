"""Kernels that are spoken to over files rather than over TCP ports.

Jupyter draws a kernel's free ports and closes them again; the kernel binds them a second later. Of
several kernels that start beside each other one may meanwhile be given the other's port, and dies
("Kernel died before replying to kernel_info"). A socket in a folder of one's own cannot be taken.
As a plugin (``pytest -p tools.kernels``) it has nbval start its kernels so.
"""

import importlib
import os
import secrets
from tempfile import TemporaryDirectory

import pytest
from jupyter_client.manager import KernelManager
from traitlets import default

_folder = TemporaryDirectory(prefix="kernels")


class Kernel(KernelManager):
    """A kernel's manager, with the defaults changed (Windows keeps TCP)."""

    @default("transport")
    def _over_files(self) -> str:
        return "ipc" if os.name == "posix" else "tcp"

    @default("connection_file")
    def _in_our_folder(self) -> str:
        return os.path.join(_folder.name, f"{secrets.token_hex(4)}.json")


def pytest_configure(config: pytest.Config) -> None:
    """Let nbval start kernels by our manager: it takes no option for it."""
    if config.pluginmanager.hasplugin("nbval"):
        importlib.import_module("nbval.kernel").KernelManager = Kernel  # type: ignore[attr-defined]
