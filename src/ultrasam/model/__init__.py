"""The network and its weights; nothing here knows files of images."""
