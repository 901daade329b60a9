"""What decides whether a business is signed in."""
