"""Names of columns, as people write them."""

import pytest

from packd_jax.traces.csv_header import FIELDS, IGNORED, column_kinds, header_line, is_csv
from packd_jax.traces.load_trace import TraceError


def meant(header, **columns):
    kinds = column_kinds(header, columns, "some.csv").tolist()
    return [None if kind == IGNORED else FIELDS[kind] for kind in kinds]


@pytest.mark.parametrize(
    "header, expected",
    [
        (b"address,pc", ["address", "pc"]),
        (b"instr_id, cycle, ADDR, IP, hit", ["instr_id", "cycle", "address", "pc", "hit"]),
        (b'"Program Counter","V-Addr","note"\r', ["pc", None, None]),
        (b"id,thread,rip,vaddr,type", ["instr_id", None, "pc", "address", "is_store"]),
        (b"pc,paddr,vaddr", ["pc", None, "address"]),
        (b"PC, address, addr ,LLC Hit", ["pc", "address", None, "hit"]),
    ],
)
def test_usual_names_are_known_and_the_first_is_preferred(header, expected):
    if "address" in expected:
        assert meant(header) == expected
        assert is_csv(b"\n" + header + b"\n1,2\n")
    else:
        with pytest.raises(TraceError, match="a column address or addr or vaddr"):
            meant(header)


def test_columns_may_be_named_or_taken_away():
    header = b"when,what,where,hit"
    assert meant(header, pc="what", address="WHERE") == [None, "pc", "address", "hit"]
    named = meant(header, pc="what", address="where", cycle="when", hit="")
    assert named == ["cycle", "pc", "address", None]


@pytest.mark.parametrize(
    "header, columns, message",
    [
        (
            b"pc,size",
            {},
            "header: 'pc,size'; expected a column address or addr or vaddr; name that",
        ),
        (b"address", {}, "expected a column pc or ip or program_counter; name that of pc: --col"),
        (b"pc,addr,cycle", {"cycle": "t"}, "expected a column t; name that of cycle: --columns="),
        (b"pc,addr,pc", {}, "expected one column 'pc'"),
        (
            b"pc,addr",
            {"adress": "addr"},
            "columns: 'adress'; expected names out of instr_id, cycle",
        ),
    ],
)
def test_a_header_without_what_is_needed_is_an_error(header, columns, message):
    with pytest.raises(TraceError) as caught:
        meant(header, **columns)
    assert message in str(caught.value)


def test_the_header_is_the_first_line_that_is_not_blank():
    assert header_line(b"\xef\xbb\xbfpc,address\r\n1,2\n") == b"pc,address\r"
    assert header_line(b" \r\n\n a,b\n") == b"a,b"
    assert header_line(b"pc,addr") is None


def test_recognition_needs_an_address_among_others():
    assert not is_csv(b"1, 2, a0, b0, 1\n")
    assert not is_csv(b"address\n1\n")
    assert not is_csv(b"I  04000000,3\n")
    assert not is_csv(b"pc,address")  # not yet a line
    assert not is_csv(b"")
