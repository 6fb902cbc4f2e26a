"""What Bio-Formats does for a real OMERO, for the few formats that demonstrations and tests need.

The rules, which the sandbox documents instead of imitating every reader: a plain TIFF, PNG or JPEG is a
fileset of its own; files that an OME-XML (in an OME-TIFF or in a ``*.companion.ome``) names in
``TiffData/UUID@FileName`` belong together; an OME-XML with a ``Plate`` makes a plate; ``name&sizeZ=3.fake``
is an image of that size; everything else is unknown.
"""
