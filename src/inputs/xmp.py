"""XMP, the XML that phones hide in JPEG files, read without trusting it.

Adobe, "XMP specification, part 3", 2020, section 1.1.3: one packet, and what is longer than 64 KB.
"""

import struct
from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

STANDARD = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
NOTE = "http://ns.adobe.com/xmp/note/"
APP1, START_OF_SCAN = 0xE1, 0xDA


def packets(jpeg: bytes) -> list[Element]:
    """The XMP of a JPEG file and its extension; a ValueError where either is broken."""
    elements = []
    pieces: dict[bytes, dict[int, bytes]] = {}
    lengths: dict[bytes, int] = {}
    for marker, start, end in segments(jpeg):
        payload = jpeg[start:end]
        if marker == APP1 and payload.startswith(STANDARD):
            elements.append(parse(payload.removeprefix(STANDARD)))
        elif marker == APP1 and payload.startswith(EXTENDED):
            payload = payload.removeprefix(EXTENDED)
            guid, piece = payload[:32], payload[40:]
            lengths[guid], offset = struct.unpack(">II", payload[32:40])
            pieces.setdefault(guid, {})[offset] = piece
    for packet in list(elements):
        guid = properties([packet], NOTE).get("HasExtendedXMP", "").encode()
        if guid in pieces:
            # Once: thousands of packets may name the same extension.
            whole = b"".join(piece for _, piece in sorted(pieces.pop(guid).items()))
            if len(whole) != lengths[guid]:
                raise ValueError(f"{len(whole)} of {lengths[guid]} bytes of extended XMP")
            elements.append(parse(whole))
    return elements


def segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Of each segment in a JPEG's header, the marker and where its payload starts and ends."""
    offset = 2
    while offset + 4 <= len(jpeg) and jpeg[offset] == 0xFF:
        marker, length = jpeg[offset + 1], int.from_bytes(jpeg[offset + 2 : offset + 4], "big")
        if marker == 0xFF:  # padding
            offset += 1
            continue
        if marker == START_OF_SCAN or length < 2:
            return
        yield marker, offset + 4, offset + 2 + length
        offset += 2 + length


def parse(xml: bytes) -> Element:
    """A packet's elements, names as `namespace}local`; a ValueError where it is not well-formed.

    A document type is refused, and with it every entity ("billion laughs", other files).
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise ValueError("XMP with a document type declaration")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(xml.strip(b"\0 \r\n\t"), True)
        return builder.close()
    except (expat.ExpatError, AssertionError) as error:
        raise ValueError(f"broken XMP ({error})") from error


def properties(roots: Iterable[Element], namespace: str) -> dict[str, str]:
    """All properties of a namespace at and below some elements, by local name."""
    values: dict[str, str] = {}
    for root in roots:
        for element in root.iter():
            values.update(own_properties(element, namespace))
    return values


def own_properties(element: Element, namespace: str) -> dict[str, str]:
    """The properties of a namespace that an element has as attributes or as children."""
    prefix = namespace + "}"
    values = {k[len(prefix) :]: v for k, v in element.attrib.items() if k.startswith(prefix)}
    for child in element:
        if child.tag.startswith(prefix) and child.text and not len(child):
            values[child.tag[len(prefix) :]] = child.text.strip()
    return values
