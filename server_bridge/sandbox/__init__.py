"""The sandbox OMERO: OMERO's own Ice protocol from one Python process, for demonstrations, training and
tests.

Unmodified omero-py (BlitzGateway, the ``omero`` command line) works against it, and the unmodified ``omero
import --transfer=ln`` does too, through a stand-in for the Java importer. It is not an OMERO.server: it
says so when it starts, listens on the loopback address only, and must never hold data that matters.

Start it with ``ferry-bridge sandbox --data DIR`` (``--managed DIR`` puts the ManagedRepository on the mount
of the staging directory). When ``DIR/sandbox.json`` is there it is ready; the file names ports, repository,
OMERODIR and the directory with the stand-in ``java`` that belongs first on PATH. The people, their groups
and their training passwords are in ``seed``; ``faults`` lists the places where it can be made to fail.

How the parts follow from each other: ``model`` describes OMERO's classes as data; ``store`` keeps them in
SQLite; ``security`` decides who sees and changes what; ``hql`` translates queries; ``objects`` and
``saving`` convert between rows and ``omero.model``; ``servants`` speak Ice; ``importing`` runs what the
server does of an import, ``importer`` what the client does, both reading files by ``images``.
"""
