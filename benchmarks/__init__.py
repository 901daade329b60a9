"""Product and peer, measured in one run. A figure without its peer says nothing on a shared machine."""
