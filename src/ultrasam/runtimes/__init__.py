"""Run the network on a device through `encode` and `decode`, with faster forms of its parts."""
