"""The sandbox's stand-in for OMERO's Java importer.

``java … ome.formats.importer.cli.CommandLineImporter``.

It behaves like the original where people and programs can tell: arguments, exit codes (also those that
lie), standard output, the log on standard error, the calls to the server and what is left behind by a
failure.
"""
