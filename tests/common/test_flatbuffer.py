"""Tables of flatbuffers, sound and damaged."""

import struct

import pytest

from efficientnet.common.flatbuffer import Table

# The root's place; its layout: sizes, and the places of fields 0 (a number), 1 (not set) and 2 (a list); the table
# itself: back to the layout, the number 7, the way to the list; the list.
SOUND = struct.pack("<I HHHHH2x iIi I3f", 16, 10, 12, 4, 0, 8, 12, 7, 4, 3, 1.0, 2.0, 3.0)


def test_the_fields_of_a_table():
    table = Table(memoryview(SOUND))
    assert (table.number(0), table.number(1), table.number(9)) == (7, 0, 0)
    assert table.vector(2, "<f4").tolist() == [1.0, 2.0, 3.0]
    assert not len(table.vector(1, "<f4")) and table.text(1) == "" and not list(table.tables(1))
    with pytest.raises(ValueError, match="the field 1 is missing"):
        table.table(1)


@pytest.mark.parametrize(
    ("place", "number", "problem"),
    [
        (0, 2**32 - 1, "an offset leads out of it"),
        (16, 2**31 - 1, "an offset leads out of it"),
        (24, 2**31, "an offset leads out of it"),
        (28, 2**32 - 1, "a list runs past its end"),
    ],
)
def test_places_outside_of_the_data(place, number, problem):
    data = bytearray(SOUND)
    struct.pack_into("<I", data, place, number)
    with pytest.raises(ValueError, match=problem):
        Table(memoryview(bytes(data))).vector(2, "<f4")
    with pytest.raises(ValueError, match="an offset leads out of it"):
        Table(memoryview(b"ab"))


def test_more_tables_than_any_file_has():
    count = 2**16 + 1
    data = SOUND[:28] + struct.pack("<I", count) + bytes(4 * count)
    with pytest.raises(ValueError, match="a list has 65,537 entries"):
        next(Table(memoryview(data)).tables(2))
