"""OMERO's remote services as Python servants, one module for each family of them."""
