"""The rule of the rotating cookie: strict, but fair to a browser that lost one response."""

from tests.sites.rotating.rotation import Family, Verdict, show

RIGHT, FORGIVEN, REPLAYED = Verdict.RIGHT, Verdict.FORGIVEN, Verdict.REPLAYED


def shown(*numbers: int) -> list[Verdict]:
    """Return what showing the cookies in this order comes to, from a fresh sign-in on."""
    family, verdicts = Family(), []
    for number in numbers:
        family, verdict = show(family, number)
        verdicts.append(verdict)
    return verdicts


def test_the_newest_cookie_is_right() -> None:
    """Each shows the one that the response before gave out."""
    assert shown(0, 1, 2, 3) == [RIGHT] * 4


def test_a_lost_response_is_forgiven_once() -> None:
    """Cookie 1 may never have arrived; 2 takes its place."""
    assert shown(0, 0, 2, 3) == [RIGHT, FORGIVEN, RIGHT, RIGHT]


def test_a_second_lost_response_later_is_forgiven_too() -> None:
    """What was forgiven is over once a newer cookie was shown."""
    assert shown(0, 0, 2, 2, 4) == [RIGHT, FORGIVEN, RIGHT, FORGIVEN, RIGHT]


def test_an_old_cookie_shown_twice_signs_out_for_good() -> None:
    """Nothing of the family is right any more, the newest neither."""
    assert shown(0, 0, 0, 2) == [RIGHT, FORGIVEN, REPLAYED, REPLAYED]


def test_a_cookie_whose_successor_arrived_is_not_forgiven() -> None:
    """Cookie 1 was shown, so the response that carried it was not lost."""
    assert shown(0, 1, 0) == [RIGHT, RIGHT, REPLAYED]


def test_the_cookie_that_was_given_up_for_lost_is_void() -> None:
    """Two browsers: one showed 0 again, the other had got 1 after all."""
    assert shown(0, 0, 1) == [RIGHT, FORGIVEN, REPLAYED]
