"""Everything the bridge does with OMERO, through unmodified omero-py."""

# omero-py's modules lean on one another: which of them can be imported depends on which came before, unless
# all of them are there.
import omero.all  # noqa: F401
