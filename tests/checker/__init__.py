"""The independent verdict: what is on the disks and in OMERO, seen from outside.

Nothing here imports the agent or the bridge. It trusts `os.stat`, `hashlib`, `find`'s view of a tree and raw
Ice queries to OMERO, so that a mistake of ours cannot also be the mistake of whoever checks us.
"""
