"""A site that gives out a new session cookie with every response, and watches for old ones.

What banks and identity providers do with refresh tokens (RFC 9700, section 4.14.2), done to the session
cookie itself: whoever restores a browser from a state that is one response old is found out.
"""
