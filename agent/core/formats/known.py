"""What is known, format by format. The order counts: a name is the first one's that claims it.

``source`` names what a claim rests on. "Reader" means the class of Bio-Formats 8 (repository ome/bioformats)
that opens the format: where it looks for files is where they must be. What a vendor writes last is nowhere
documented; where a rule says something about it, it is marked ``[infer]``.
"""

from __future__ import annotations

from agent.core.formats.rules import Check, CheckKind, FormatRule

TIFFS = ("*.tif", "*.tiff")
IMAGES = (*TIFFS, "*.png", "*.jpg", "*.jp2", "*.lof", "*.stk")
_FIVE_DIGITS = "[0-9]" * 5

KNOWN: tuple[FormatRule, ...] = (
    FormatRule(
        id="ome-zarr",
        title="OME-Zarr",
        folder_names=("*.zarr",),
        signatures=((".zattrs", ".zgroup"), (".zgroup",), ("zarr.json",)),
        plate="either",
        last="nothing in particular: metadata may come first, chunks in any order",
        checks=(
            Check(kind=CheckKind.ZARR_METADATA, files=("zarr.json", ".zattrs", ".zgroup"), required=True),
        ),
        source=(
            "OME-NGFF specification 0.4 (.zgroup and .zattrs; `plate.wells[].path`) and 0.5 (zarr.json, the "
            "same below `attributes.ome`). Chunks that are all fill value may be absent (Zarr v2 and v3 "
            "core), so that chunks can't be counted."
        ),
    ),
    FormatRule(
        id="harmony",
        title="Harmony (Operetta, Opera Phenix)",
        signatures=(
            ("index.idx.xml",),
            ("index.ref.xml",),
            ("index.xml", "*.tif*"),
            ("images", "assaylayout"),
        ),
        plate="plate",
        last="the index [infer]",
        checks=(
            Check(
                kind=CheckKind.NAMED_FILES,
                files=("index.idx.xml", "index.ref.xml", "index.xml"),
                names=r"<URL\b[^>]*>\s*([^<]+?)\s*</URL>",
                images=TIFFS,
                required=True,
            ),
            Check(
                kind=CheckKind.CLOSING_TAG,
                files=("index.idx.xml", "index.ref.xml", "index.xml"),
                tag="</EvaluationInputData>",
            ),
        ),
        source=(
            "OperettaReader: index files Index.idx.xml, Index.ref.xml, Index.xml at plate_name/Images/, "
            "planes by <URL>. Root element EvaluationInputData: [infer] from published index files. That "
            "the export writes Assaylayout/ beside Images/: [infer]."
        ),
    ),
    FormatRule(
        id="yokogawa",
        title="Yokogawa CellVoyager (CV7000, CV8000)",
        signatures=(("measurementdata.mlf",), ("*.mrf",), ("*.wpi",), ("*.mes",)),
        plate="plate",
        last="MeasurementData.mlf grows while it measures; its closing tag is written at the end [infer]",
        checks=(
            Check(
                kind=CheckKind.NAMED_FILES,
                files=("measurementdata.mlf",),
                names=r'<bts:MeasurementRecord\b[^>]*\bbts:Type="IMG"[^>]*>\s*([^<\s][^<]*?)\s*</bts:MeasurementRecord>',
                images=TIFFS,
                required=True,
            ),
            Check(kind=CheckKind.CLOSING_TAG, files=("measurementdata.mlf",), tag="</bts:MeasurementData>"),
            Check(kind=CheckKind.PRESENT, files=("measurementdetail.mrf",), required=True),
        ),
        source=(
            "CV7000Reader: opens *.wpi; MeasurementData.mlf holds bts:MeasurementRecord elements of bts:Type "
            "IMG whose text is a file's name; MeasurementDetail.mrf and *.mes belong to it."
        ),
    ),
    FormatRule(
        id="metaxpress",
        title="MetaXpress (ImageXpress)",
        signatures=(("*.htd",), ("timepoint_1",)),
        plate="plate",
        last="the images of the last well; the .HTD comes first [infer]",
        checks=(Check(kind=CheckKind.HTD_COUNT, files=("*.htd",), images=TIFFS, required=True),),
        source=(
            "CellWorxReader (keys XWells, WellsSelection, XSites, Sites, SiteSelection, Waves, NWavelengths, "
            "TimePoints, ZSteps) and MetaxpressTiffReader (TimePoint_<t>/ZStep_<z>, names with _thumb are "
            "no data). That every plane is a file of its own: both readers assume it."
        ),
    ),
    FormatRule(
        id="micro-manager",
        title="Micro-Manager",
        signatures=(
            ("metadata.txt",),
            ("*_metadata.txt", "*.tif"),
            ("display_and_comments.txt",),
            ("*_mmstack*.ome.tif",),
        ),
        last="the closing brace of metadata.txt [infer]",
        checks=(
            Check(
                kind=CheckKind.NAMED_FILES,
                files=("metadata.txt", "*_metadata.txt"),
                names=r'"FileName"\s*:\s*"([^"]+)"',
                images=TIFFS,
            ),
            Check(kind=CheckKind.CLOSING_TAG, files=("metadata.txt", "*_metadata.txt"), tag="}", begins="{"),
            Check(kind=CheckKind.TIFF_CHAIN, files=TIFFS),
        ),
        source=(
            "MicromanagerReader: metadata.txt or <prefix>_metadata.txt beside the TIFFs, one folder for each "
            'position; the text is one JSON object, planes by "FileName".'
        ),
    ),
    FormatRule(
        id="ndtiff",
        title="NDTiff (Micro-Manager 2, Pycro-Manager)",
        signatures=(("ndtiff.index",), ("full resolution",)),
        last="the index grows with every image",
        checks=(
            Check(kind=CheckKind.NDTIFF_INDEX, files=("ndtiff.index",), required=True),
            Check(kind=CheckKind.TIFF_CHAIN, files=TIFFS),
        ),
        source=(
            'README of micro-manager/NDStorage, "Specification for NDTiff": layout of the folder and of an '
            "entry of NDTiff.index."
        ),
    ),
    FormatRule(
        id="leica-xlef",
        title="Leica XLEF project",
        signatures=(("*.xlef",),),
        last="the .xlef [infer]",
        checks=(Check(kind=CheckKind.CLOSING_TAG, files=("*.xlef",), tag=">"),),
        source=(
            "XLEFReader: an .xlef refers to .xlcf, .xlif and .lof files below its folder. How they end: "
            "[infer], they are XML."
        ),
    ),
    FormatRule(
        id="ome-tiff",
        title="OME-TIFF with a companion file",
        suffixes=(".companion.ome",),
        parts=("{stem}.ome.tif", "{stem}.ome.tiff", "{stem}[_. -]*.ome.tif", "{stem}[_. -]*.ome.tiff"),
        last="the companion file, where it is written after the images [infer]",
        checks=(
            Check(
                kind=CheckKind.NAMED_FILES,
                files=("*.companion.ome",),
                names=r'<(?:\w+:)?UUID\b[^>]*\bFileName="([^"]+)"',
                images=TIFFS,
            ),
            Check(kind=CheckKind.CLOSING_TAG, files=("*.companion.ome",), tag="</OME> </ome:OME>"),
        ),
        source=(
            "OMETiffReader (suffix companion.ome) and the OME-TIFF specification: TiffData/UUID/@FileName "
            "names the files. That the images' names begin with the companion's: [infer], usual, not asked "
            "for."
        ),
    ),
    FormatRule(
        id="czi",
        title="Zeiss CZI",
        suffixes=(".czi",),
        parts=("{stem}([0-9]*).czi", "{stem} ([0-9]*).czi"),
        last="the positions of directory and metadata in the header",
        checks=(Check(kind=CheckKind.CZI_HEADER, files=("*.czi",)),),
        source=(
            'ZeissCZIReader, czifile: parts are "name (1).czi"; the file header\'s segment holds the '
            "positions of directory and metadata and the flag updatePending. That ZEN fills them in last: "
            "[infer]."
        ),
    ),
    FormatRule(
        id="lif",
        title="Leica LIF",
        suffixes=(".lif",),
        parts=("{stem}.lifext",),
        orphans=("*.lifext",),
        last="the last memory block",
        checks=(Check(kind=CheckKind.LIF_BLOCKS, files=("*.lif",)),),
        source=(
            "LIFReader: a block of XML (0x70), then memory blocks (0x70, 0x2A) that follow one another to "
            "the end of the file. The XML names each by MemoryBlockID (libraries liffile, readlif). .lifext "
            "beside it: documentation of liffile (written by LAS X)."
        ),
    ),
    FormatRule(
        id="nd2",
        title="Nikon ND2",
        suffixes=(".nd2",),
        last="the chunk map and its signature",
        checks=(Check(kind=CheckKind.ND2_TRAILER, files=("*.nd2",)),),
        source=(
            'Library nd2 (tlambert03/nd2) and NativeND2Reader: the last 40 bytes are "ND2 CHUNK MAP '
            'SIGNATURE 0000001!" and the position of the map. Files before NIS-Elements 3 are JPEG 2000 and '
            "end otherwise."
        ),
    ),
    FormatRule(
        id="oir",
        title="Olympus OIR",
        suffixes=(".oir",),
        parts=(f"{{stem}}_{_FIVE_DIGITS}",),
        orphans=(f"*_{_FIVE_DIGITS}",),
        last="the part with the highest number [infer]",
        source=(
            "OIRReader: parts are the name without .oir, an underscore and five digits, without a suffix. "
            "How many there are is written nowhere that we know of: quiet time alone."
        ),
    ),
    FormatRule(
        id="vsi",
        title="Olympus/Evident VSI",
        suffixes=(".vsi",),
        parts=("_{stem}_",),
        orphans=("_*_/",),
        orphan_holds=("*.ets",),
        last="the .vsi, after the tiles in its folder [infer]",
        checks=(Check(kind=CheckKind.TIFF_CHAIN, files=("*.vsi",)),),
        source=(
            "CellSensReader: pixels in _name_/stack*/frame_*.ets beside name.vsi, which is a TIFF itself. "
            "Small images may have no folder."
        ),
    ),
    FormatRule(
        id="imaris",
        title="Imaris",
        suffixes=(".ims",),
        last="the HDF5 superblock",
        checks=(Check(kind=CheckKind.HDF5_END, files=("*.ims",)),),
        source=(
            "HDF5 File Format Specification, superblock: the address of the end of the file; version 3: the "
            'flag "open for writing". Imaris 5.5 and later write HDF5 (ImarisHDFReader).'
        ),
    ),
    FormatRule(
        id="tiff-series",
        title="Numbered series of TIFF files",
        series="axes",
        last="the highest number; how many there will be is written nowhere",
        checks=(Check(kind=CheckKind.TIFF_CHAIN, files=TIFFS),),
        source=(
            "Adobe TIFF 6.0, section 2: image directories form a chain that ends with 0. BigTIFF alike. "
            "That names such as _t001_z01 are one acquisition: [infer], the habit of most programs."
        ),
    ),
    FormatRule(
        id="tiff-counter",
        title="TIFF files with a running number",
        series="counter",
        last="the highest number; how many there will be is written nowhere",
        checks=(Check(kind=CheckKind.TIFF_CHAIN, files=TIFFS),),
        source=(
            "[infer] img_0001.tif, img_0002.tif may be one series or a day's snapshots: off unless a rule "
            "names it."
        ),
    ),
    FormatRule(
        id="tiff",
        title="TIFF",
        suffixes=(".ome.tiff", ".ome.tif", ".tiff", ".tif", ".btf"),
        last="the chain of image directories",
        checks=(Check(kind=CheckKind.TIFF_CHAIN, files=(*TIFFS, "*.btf")),),
        source=(
            "Adobe TIFF 6.0, section 2: image directories form a chain that ends with 0. A program that "
            "writes a directory with every plane makes a chain that ends at any time: then this says "
            "nothing."
        ),
    ),
)

BY_ID = {rule.id: rule for rule in KNOWN}
