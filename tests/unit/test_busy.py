"""A page that stores a lot is told from one that does not."""

from raypool.browser.busy import Flood


def test_a_flood_is_many_within_a_second() -> None:
    """The last of them is one too many, and each that follows within the second."""
    flood = Flood(many=3)
    assert [flood.rises(100.0), flood.rises(100.4), flood.rises(100.8)] == [False, False, True]
    assert flood.rises(101.0)


def test_what_comes_slowly_is_none() -> None:
    """However long it goes on."""
    flood = Flood(many=3)
    assert not any(flood.rises(0.6 * n) for n in range(100))


def test_a_flood_is_over_after_a_quiet_second() -> None:
    """It has to rise anew."""
    flood = Flood(many=2)
    assert [flood.rises(10.0), flood.rises(10.1)] == [False, True]
    assert not flood.rises(11.5)
