"""The Hibernate query language, as far as omero-py and this project speak it, translated to SQLite.

``parser`` turns text into the nodes of ``nodes``; ``translate`` turns nodes into one SQL statement over the
tables of ``sandbox.model``. What is not understood is refused with :class:`HqlError`, never answered with
nothing.
"""
