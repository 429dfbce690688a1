"""The network on a device behind two calls, `encode` and `decode`, and faster forms of its parts."""
