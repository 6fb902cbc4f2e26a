"""The sandbox OMERO: OMERO's own Ice protocol from one Python process, for demonstrations, training and
tests.

Unmodified omero-py (BlitzGateway, the ``omero`` command line) works against it, and the unmodified ``omero
import --transfer=ln`` does too, through a stand-in for the Java importer. It is not an OMERO.server: it
says so when it starts, listens on the loopback address only, and must never hold data that matters.
"""
