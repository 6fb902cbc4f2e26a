"""The directory that lets the ``omero`` command import into the sandbox without Java.

``omero import`` wants an OMERODIR with a jar and a logging configuration, and a ``java`` on PATH. The
sandbox writes all of them below ``DATA/client``; whoever runs the command sets OMERODIR to it and puts its
``bin`` first on PATH.
"""

from __future__ import annotations

import shlex
import sys
import zipfile
from pathlib import Path

import server_bridge

LOGBACK = """<?xml version="1.0" encoding="UTF-8"?>
<!-- Read by nobody: the stand-in for java writes its log lines itself. -->
<configuration/>
"""

JAVA = """#!/bin/sh
# Stand-in for java, written by the OMERO sandbox: it runs the sandbox's own import command.
case "$1" in
-version)
    echo 'openjdk version "11.0.0-sandbox" (a stand-in that belongs to the OMERO sandbox)' >&2
    exit 0
    ;;
esac
FERRY_SANDBOX_DATA={data}
PYTHONPATH={source}${{PYTHONPATH:+:$PYTHONPATH}}
export FERRY_SANDBOX_DATA PYTHONPATH
# -P: a folder called omero in the current directory must not shadow the library.
exec {python} -P -m server_bridge.sandbox.importer "$@"
"""


def write_client_dir(data: Path) -> Path:
    """Write (again) ``DATA/client`` and return it."""
    client = data.absolute() / "client"
    for directory in (client / "bin", client / "lib" / "client", client / "etc"):
        directory.mkdir(parents=True, exist_ok=True)
    (client / "etc" / "logback-cli.xml").write_text(LOGBACK)
    jar = client / "lib" / "client" / "sandbox.jar"
    if not jar.exists():
        with zipfile.ZipFile(jar, "w") as archive:
            archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    source = Path(server_bridge.__file__).parent.parent
    java = client / "bin" / "java"
    part = java.with_suffix(".part")
    part.write_text(
        JAVA.format(
            data=shlex.quote(str(data.absolute())),
            source=shlex.quote(str(source)),
            python=shlex.quote(sys.executable),
        )
    )
    part.chmod(0o755)
    part.replace(java)
    return client
