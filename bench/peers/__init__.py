"""The peers: what one would write with the stock tools, doing the same work to the same tables."""
