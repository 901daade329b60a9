"""Sites whose pages keep a token in the browser, each where it is hard to save.

``oidc`` keeps it in sessionStorage and renews it, ``firebase`` in IndexedDB, ``framed`` in the storage
and in a partitioned cookie of another site's frame. All of them look the same from outside.
"""
