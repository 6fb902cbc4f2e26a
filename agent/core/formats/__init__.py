"""What is known of file formats: which files belong together, and what says that they are all there.

``rules`` is the form of that knowledge, ``known`` the knowledge itself as a table, ``grouping`` and
``series`` decide by names alone, ``witness`` reads a little of what rests long enough, by means of
``contents``.
"""
