"""Parse XML files of any encoding, but no document types, whose entities can fill the memory."""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ultrasam.datasets.file_tree import FileEntry
from ultrasam.errors import DataError, one_line
from ultrasam.text import decode_text


def parse_xml(entry: FileEntry) -> Element:
    """The root of an XML file (see `xml_root`)."""
    return xml_root(entry.read(), entry.path)


def xml_root(data: bytes, path: str) -> Element:
    """Parse XML in the encoding that it declares, or in any common one if it is not in that.

    Args:
        data: the file's content.
        path: of the file, for the error message.

    Raises:
        DataError: This is no XML, or it has a document type (DOCTYPE), which annotation files have not.
    """
    try:
        return _parsed(data, path)
    except (expat.ExpatError, ValueError, LookupError):
        pass
    try:
        return _parsed(decode_text(data), path)
    except (expat.ExpatError, ValueError) as error:
        raise DataError(f"{path} is not valid XML: {one_line(error)}") from error


def _parsed(text: bytes | str, path: str) -> Element:
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise DataError(f"{path} has a document type (DOCTYPE); remove it to have the file read")

    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(text, True)
    return builder.close()
