"""Bugs that are planted by hand, to see that the suite catches them."""
