"""XMP, the XML that phones hide in JPEG files, read without trusting it.

Adobe, "XMP specification, part 3", 2020, section 1.1.3: one packet in an APP1 segment, and what is
longer than 64 KB ("extended") in pieces over many.
"""

import struct
from collections.abc import Iterator
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

STANDARD = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
NOTE = "http://ns.adobe.com/xmp/note/"
APP1 = 0xE1
START_OF_SCAN = 0xDA


def packets(jpeg: bytes) -> list[Element]:
    """The XMP of a JPEG file: the packet and its extension, where there are such.

    Raises:
        ValueError: XML that is broken or declares entities, or an extension with gaps.
    """
    found = []
    pieces: dict[bytes, dict[int, bytes]] = {}
    lengths: dict[bytes, int] = {}
    for marker, start, end in segments(jpeg):
        payload = jpeg[start:end]
        if marker != APP1:
            continue
        if payload.startswith(STANDARD):
            found.append(parse(payload[len(STANDARD) :]))
        elif payload.startswith(EXTENDED):
            head = len(EXTENDED)
            guid = payload[head : head + 32]
            length, offset = struct.unpack(">II", payload[head + 32 : head + 40])
            lengths[guid] = length
            pieces.setdefault(guid, {})[offset] = payload[head + 40 :]
    for packet in list(found):
        guid = properties(packet, NOTE).get("HasExtendedXMP", "").encode()
        if guid in pieces:
            whole = b"".join(piece for _, piece in sorted(pieces[guid].items()))
            if len(whole) != lengths[guid]:
                raise ValueError(f"{len(whole)} of {lengths[guid]} bytes of extended XMP")
            found.append(parse(whole))
    return found


def segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Of each segment in a JPEG's header, the marker and where its payload starts and ends."""
    place = 2
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF:
        marker, length = jpeg[place + 1], int.from_bytes(jpeg[place + 2 : place + 4], "big")
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker == START_OF_SCAN or length < 2:
            return
        yield marker, place + 4, place + 2 + length
        place += 2 + length


def parse(xml: bytes) -> Element:
    """A packet's elements; names are `namespace}local`.

    A document type is refused, and with it every entity: XMP has none, and they are how a file of
    a kilobyte becomes gigabytes ("billion laughs") or reads other files.

    Raises:
        ValueError: not well-formed, or with a document type.
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


def properties(root: Element, namespace: str) -> dict[str, str]:
    """All properties of a namespace below an element, by local name.

    XMP writes a simple property as an attribute or as an element; both count.
    """
    found: dict[str, str] = {}
    for element in root.iter():
        found.update(own_properties(element, namespace))
        if element.tag.startswith(namespace + "}") and element.text and not len(element):
            found[element.tag.rpartition("}")[2]] = element.text.strip()
    return found


def own_properties(element: Element, namespace: str) -> dict[str, str]:
    """The properties of a namespace that belong to an element: attributes and children."""
    prefix = namespace + "}"
    found = {k[len(prefix) :]: v for k, v in element.attrib.items() if k.startswith(prefix)}
    for child in element:
        if child.tag.startswith(prefix) and child.text and not len(child):
            found[child.tag[len(prefix) :]] = child.text.strip()
    return found
