"""A whole site on loopback: sandbox OMERO, rsync daemon and bridge as real processes in one folder.

Shared by the demo, the end-to-end test and the fault tests, which each drive it in their own way. What runs
here are the commands an admin would type; nothing of the bridge is imported.
"""
